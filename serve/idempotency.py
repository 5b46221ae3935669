"""A request that is sent again under its Idempotency-Key gets the first answer, and changes nothing twice."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from serve.problems import Problem

HEADER = "idempotency-key"
_T = TypeVar("_T")
_VALID = re.compile(r"[!-~]{1,255}")
_KEPT = 10_000  # answers of a few hundred bytes


@dataclass(kw_only=True, slots=True)
class _Entry:
    request: str
    done: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Any = None


class Replays:
    """The last answers by caller and key, in memory: after a restart a change that is sent again is made again, which
    additions and removals by id survive. Refusals are not kept: what was refused may be sent again."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    async def once(self, caller: str, key: str | None, request: str, work: Callable[[], Awaitable[_T]]) -> _T:
        """The answer that `work` gives, or gave under this key; one at a time under a key.

        Args:
            request: a fingerprint of all that is asked.

        Raises:
            Problem: 400, not a key; 409, the key came with another request; whatever `work` raises.
        """
        if key is None:
            return await work()
        if not _VALID.fullmatch(key):
            raise Problem(
                400, "bad-idempotency-key", "Idempotency-Key is 1 to 255 characters of ASCII, without blanks."
            )
        name = (caller, key)
        while entry := self._entries.get(name):
            if entry.request != request:
                raise Problem(409, "idempotency-key-reused", "This Idempotency-Key came with another request.")
            await entry.done.wait()
            if self._entries.get(name) is entry:
                return entry.answer
        self._entries[name] = entry = _Entry(request=request)
        try:
            entry.answer = await work()
        except BaseException:
            del self._entries[name]
            raise
        finally:
            entry.done.set()
        done = [each for each, one in self._entries.items() if one.done.is_set()]
        for each in done[: max(len(self._entries) - self._kept, 0)]:
            del self._entries[each]
        return entry.answer
