"""The ingress: one process for HTTP, decode processes beside it, and a `Library` for each retriever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from ray import serve as ray_serve

from covr.client.schema import FieldError
from covr.storage import Place
from serve import routes
from serve.decoding import Decoders
from serve.library import Library
from serve.metrics import Metrics
from serve.problems import Problem
from serve.settings import DEFAULT, Settings
from serve.topology import Colocated, Separate


@ray_serve.deployment
@ray_serve.ingress()
class Gateway:
    """What stands behind the routes.

    Args:
        wired: for each retriever the arguments of `Colocated` or of `Separate`.
    """

    def __init__(self, settings: Settings, wired: Mapping[str, dict[str, Any]]) -> None:
        self._settings = settings
        decoders, self.metrics = Decoders(settings.decoders), Metrics()
        self.libraries = {
            name: Library(
                Place(settings.roots[name]),
                Colocated(**handles) if settings.topology == "colocated" else Separate(**handles),
                decoders,
                self.metrics,
                settings.timeout_s,
            )
            for name, handles in wired.items()
        }

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Built in the replica: an application made beside the class would travel pickled, cut off from its module."""
        return routes.build(self, self._settings)

    def library(self, name: str | None) -> Library:
        """The one of a retriever's name; of the first for None.

        Raises:
            Problem: 422, there is none of this name.
        """
        found = self.libraries.get(name or DEFAULT)
        if found is None:
            error = FieldError(field="retriever", message=f"must be one of {', '.join(self.libraries)}")
            raise Problem(422, "invalid-field", "The request is not as it must be.", [error])
        return found
