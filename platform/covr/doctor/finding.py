"""What a check found, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from covr.errors import UserError

State = Literal["ok", "advice", "fault"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the doctor's answer."""

    check: str
    """What was looked at, in a word or two."""
    found: str
    state: State = "ok"
    """`fault`: a job would fail; `advice`: it would run, but worse than it could."""
    fix: str = ""
    """What to do; empty where all is well."""


Check = Callable[[], Iterator[Finding]]


def findings(name: str, check: Check) -> Iterator[Finding]:
    """What `check` yields; what it raises is a finding too."""
    try:
        yield from check()
    except UserError as error:
        yield Finding(check=name, found=_where(error), state="fault", fix=error.fix)
    except Exception as error:  # a package that does not import, a store's own error: the doctor is here to tell it
        reason = (str(error).strip() or "no reason given").splitlines()[0][:160]
        yield Finding(
            check=name,
            found=f"{type(error).__name__}: {reason}",
            state="fault",
            fix="see the message; `make install` puts the packages right",
        )


def _where(error: UserError) -> str:
    return f"{error.what} [{error.where}]" if error.where else error.what
