"""The Python client of the endpoint."""

from covr.client.asynchronous import AsyncClient
from covr.client.endpoint import DEFAULT_URL, Client
from covr.client.schema import Clip, Problem, Ready, Result, SearchAnswer, SearchQuery, Serving
from covr.client.sending import RequestRefused

__all__ = [
    "DEFAULT_URL",
    "AsyncClient",
    "Client",
    "Clip",
    "Problem",
    "Ready",
    "RequestRefused",
    "Result",
    "SearchAnswer",
    "SearchQuery",
    "Serving",
]
