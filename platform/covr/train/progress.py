"""What workers tell the driver while it waits; a module of its own, so that its process imports nothing else."""

from __future__ import annotations


class Progress:
    """A Ray actor between the workers and the driver: lines to print, validations, and the user's error if there is
    one."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._validated: list[dict[str, float]] = []
        self._refusal: tuple[str, ...] | None = None

    def say(self, line: str) -> None:
        self._lines.append(line)

    def validated(self, metrics: dict[str, float]) -> None:
        self._validated.append(metrics)

    def take_validated(self) -> list[dict[str, float]]:
        """The validations since the last call."""
        found, self._validated = self._validated, []
        return found

    def refuse(self, *error: str) -> None:
        self._refusal = error

    def take(self) -> list[str]:
        """The lines since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def refusal(self) -> tuple[str, ...] | None:
        return self._refusal
