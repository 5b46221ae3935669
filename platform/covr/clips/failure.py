"""A refused clip is a value with a reason from a fixed vocabulary."""

from __future__ import annotations

from typing import Literal, get_args

Reason = Literal[
    "missing",  # no such file
    "empty",  # no bytes, or no frame in the stretch asked for
    "not-a-video",  # not one of the allowed containers
    "no-video-stream",  # no stream in one of the allowed codecs
    "over-limit",  # larger than covr.limits allows
    "corrupt",  # cannot be decoded, in whole or in part
    "timeout",  # the decode missed its deadline
    "crashed",  # the decode process died
    "out-of-memory",  # the decode needed more memory than allowed
]

TRANSIENT: frozenset[str] = frozenset({"timeout", "crashed", "out-of-memory"})
"""Reasons that may lie in the machine and not in the file; such a clip is worth a second attempt."""


class DecodeFailure(Exception):
    """A clip that cannot be decoded: `reason` (of `Reason`) and one line of `detail`."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        if reason not in get_args(Reason):
            raise ValueError(f"{reason!r} is not a reason")
        super().__init__(reason, detail)
        self.reason: Reason = reason
        self.detail = " ".join(detail.split())[:300]

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason
