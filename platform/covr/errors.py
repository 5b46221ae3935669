"""The one error type for what a user did wrong."""

from __future__ import annotations


class UserError(Exception):
    """A failure that a user caused and can mend, told in one line: what, where, what to do.

    Args:
        what: what was wrong, as a short statement.
        where: the file, row, key or option concerned.
        fix: what to do next.
    """

    def __init__(self, what: str, where: str = "", fix: str = "") -> None:
        super().__init__(what, where, fix)  # all in args, so that it crosses process borders
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        line = self.what + (f" [{self.where}]" if self.where else "")
        line += f": {self.fix}" if self.fix else ""
        return printable(" ".join(line.split()))


def printable(text: str) -> str:
    """`text` without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
