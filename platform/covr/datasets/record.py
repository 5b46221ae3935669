"""One row of an annotation file: typed access to its fields, each refused by file, row and field where it is wrong.

Lists and dicts in strings are parsed as literals and never run; rows count from 1, a header is none.
"""

from __future__ import annotations

import ast
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from covr.errors import UserError

FIX = "fetch the file again, or correct it"
REFUSED = ("Cc", "Cs")
"""Unicode categories that no text holds: control characters, and surrogates (bytes that are not UTF-8)."""
ACCEPTED = frozenset("\t\n\r") | {chr(code) for code in range(0x80, 0xA0)}
"""Control characters that a text may hold: the upper ones stand in captions from the web, for quotes and dashes."""
_INTEGER_DIGITS = 18  # fits 64 bits
_INTEGER = re.compile(r" *-?[0-9]+ *")
_STRING = re.compile(r"""'(?:[^'\\]|\\.)*'|["](?:[^"\\]|\\.)*["]""", re.DOTALL)
_ANOTHER = re.compile(r"""\s*[bBrRuU]*['"]""")


class Record:
    """One row: typed access to its fields, each of which raises UserError where the value is of another type."""

    __slots__ = ("_file", "_inside", "_line", "fields", "row")

    def __init__(
        self, fields: Mapping[str, Any], file: str, row: int, line: int | None = None, inside: str = ""
    ) -> None:
        self.fields, self._file, self._line, self._inside = fields, file, line, inside
        self.row = row
        """Position in the file, from 1."""

    def __contains__(self, field: str) -> bool:
        return field in self.fields

    def refuse(self, field: str, problem: str) -> UserError:
        """The error that names this row and `field`."""
        line = "" if self._line is None else f" (line {self._line})"
        return UserError(problem, f"{self._file}, row {self.row}{line}, field {self._inside}{field}", FIX)

    def _get(self, field: str) -> Any:
        if field not in self.fields:
            raise self.refuse(field, "the field is missing")
        return self.fields[field]

    def text(self, field: str, *, empty: bool = False) -> str:
        """A string as it stands; with `empty` it may be blank."""
        value = self._get(field)
        if not isinstance(value, str):
            raise self.refuse(field, f"not a text but {short(value)}")
        if not value.strip() and not empty:
            raise self.refuse(field, "an empty text")
        if not value.isprintable() and any(unicodedata.category(c) in REFUSED and c not in ACCEPTED for c in value):
            raise self.refuse(field, f"a control character, or bytes that are not UTF-8, in {short(value)}")
        return value

    def name(self, field: str) -> str:
        """The name of a clip, image or video: a relative path without `..`, no space around it."""
        return self._name(field, self.text(field))

    def _name(self, field: str, value: Any) -> str:
        if not isinstance(value, str) or not value or value != value.strip() or not value.isprintable():
            raise self.refuse(field, f"not a name: {short(value)}")
        if value.startswith("/") or "\\" in value or ".." in value.split("/"):
            raise self.refuse(field, f"a name that leaves the data folder: {short(value)}")
        return value

    def integer(self, field: str) -> int:
        value = number = self._get(field)
        if isinstance(value, str) and len(value) <= _INTEGER_DIGITS and _INTEGER.fullmatch(value):
            number = int(value)
        if type(number) is int and abs(number) < 10**_INTEGER_DIGITS:
            return number
        raise self.refuse(field, f"not a whole number: {short(value)}")

    def new_integer(self, field: str, seen: set[int]) -> int:
        """A whole number that stands in no earlier row; it becomes one of those `seen`."""
        value = self.integer(field)
        if value in seen:
            raise self.refuse(field, f"{value} stands in an earlier row")
        seen.add(value)
        return value

    def number(self, field: str) -> float:
        """A finite number."""
        value = self._get(field)
        try:
            return self._number(field, float(value) if isinstance(value, str) and "_" not in value else value)
        except ValueError:
            raise self.refuse(field, f"not a number: {short(value)}") from None

    def _number(self, field: str, value: Any) -> float:
        if type(value) not in (int, float) or not abs(value) < math.inf:
            raise self.refuse(field, f"not a finite number: {short(value)}")
        return float(value)

    def numbers(self, field: str) -> list[float]:
        """A list of finite numbers; an empty field is an empty list."""
        return [self._number(field, value) for value in self._list(field)]

    def names(self, field: str) -> list[str]:
        """A list of names; an empty field is an empty list."""
        return [self._name(field, value) for value in self._list(field)]

    def integers(self, field: str) -> list[int]:
        """A list of whole numbers; an empty field is an empty list."""
        values = self._list(field)
        for value in values:
            if type(value) is not int or abs(value) >= 10**_INTEGER_DIGITS:
                raise self.refuse(field, f"not a whole number: {short(value)}")
        return values

    def texts(self, field: str, *, empty: bool = False) -> list[str]:
        """One text, or a list of texts (also as a literal in a string); with `empty` the list may be empty."""
        value = self._get(field)
        if isinstance(value, str) and not (value.lstrip().startswith("[") and value.rstrip().endswith("]")):
            return [self.text(field)]
        found = self._list(field)
        if not found and not empty:
            raise self.refuse(field, "an empty list of texts")
        return [Record({field: text}, self._file, self.row, self._line, self._inside).text(field) for text in found]

    def mapping(self, field: str) -> dict[str, Any]:
        """A dict with string keys."""
        value = self._literal(field)
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self.refuse(field, f"not a dict with string keys: {short(value)}")
        return value

    def numbers_by_name(self, field: str) -> dict[str, float]:
        """A dict of names to finite numbers."""
        return {self._name(field, key): self._number(field, value) for key, value in self.mapping(field).items()}

    def record(self, field: str) -> Record:
        """A dict with string keys, as a record of its own."""
        return Record(self.mapping(field), self._file, self.row, self._line, f"{self._inside}{field}.")

    def records(self, field: str) -> Iterator[Record]:
        """A list of objects, each a record of its own that is named by its position."""
        for row, item in enumerate(self._list(field), 1):
            if not isinstance(item, dict):
                raise self.refuse(field, f"not an object but {short(item)}")
            yield Record(item, f"{self._file}, {field}", row)

    def _list(self, field: str) -> list[Any]:
        if self._get(field) == "":
            return []
        value = self._literal(field)
        if not isinstance(value, list):
            raise self.refuse(field, f"not a list: {short(value)}")
        return value

    def _literal(self, field: str) -> Any:
        value = self._get(field)
        if not isinstance(value, str):
            return value
        try:
            tree = ast.parse(value.strip(), mode="eval")
            found = ast.literal_eval(tree)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise self.refuse(field, f"not a list or dict: {short(value)}") from None
        if any(_ANOTHER.match(value, string.end()) for string in _STRING.finditer(value)):
            # Python reads two strings side by side as one
            raise self.refuse(field, f"a comma is missing between two strings: {short(value)}")
        for node in ast.walk(tree) if "{" in value else ():
            if isinstance(node, ast.Dict) and len({ast.dump(key) for key in node.keys if key}) < len(node.keys):
                raise self.refuse(field, f"a key stands there twice: {short(value)}")
        return found


def short(value: Any) -> str:
    """A value as it is told in one line."""
    told = repr(value)
    return told if len(told) <= 60 else f"{told[:57]}..."
