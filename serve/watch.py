"""Watching the pointer: the pair that `index/current.json` names is taken without anybody asking for it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from serve.pair import Named
from serve.replies import Kept

if TYPE_CHECKING:
    from serve.keeper import Keeper

logger = logging.getLogger("ray.serve")

_LONGEST = 64  # looks between two tries of a pair that was refused: it may be large, and stay bad


async def watch(keeper: Keeper, every_s: float) -> None:
    """Look every `every_s`, and swap as `POST /v1/admin/reload` does where another pair is named than is served; for
    ever. One that is refused is tried again after pauses that double, and at once when another is named.
    """
    refused: Named | None = None
    pause = left = 0
    while True:
        await asyncio.sleep(every_s)
        try:
            other = await keeper.other()
            if other is None or other != refused:
                refused, pause, left = None, 1, 0
            left -= 1
            if other is None or left > 0:
                continue
            if isinstance(await keeper.reload(), Kept):
                refused, pause = other, min(2 * pause, _LONGEST)
                left = pause
        except Exception:  # whatever it is, the next look may go well, and nobody else would say that looking has ended
            logger.exception("the pointer was not looked at, or not followed")
