"""Calls to replicas that may die while they answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ray.exceptions import RayActorError
from ray.serve.exceptions import DeploymentUnavailableError

_T = TypeVar("_T")
_PAUSE_S = 0.05


async def again(call: Callable[..., Awaitable[_T]], *arguments: object) -> _T:
    """What a replica says; asked again where it died meanwhile, of the one that takes its place.

    For calls that may be made twice: all of ours are. The caller's deadline ends it.
    """
    while True:
        try:
            return await call(*arguments)
        except (RayActorError, DeploymentUnavailableError):
            await asyncio.sleep(_PAUSE_S)
