"""The Python client of the endpoint."""

from covr.client.endpoint import DEFAULT_URL, Client, RequestRefused
from covr.client.schema import Clip, Problem, Ready, Result, SearchAnswer, SearchQuery

__all__ = [
    "DEFAULT_URL",
    "Client",
    "Clip",
    "Problem",
    "Ready",
    "RequestRefused",
    "Result",
    "SearchAnswer",
    "SearchQuery",
]
