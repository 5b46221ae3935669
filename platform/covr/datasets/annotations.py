"""Annotation files as published, read strictly: CSV, tab-separated, JSON and JSON lines.

A byte order mark and any line ends are accepted. Lists and dicts in strings are parsed as literals and never run.
Whatever is not of the declared type is refused, naming file, row and field; rows count from 1, a header is none.
"""

from __future__ import annotations

import ast
import csv
import difflib
import io
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, Literal

from covr.errors import UserError
from covr.limits import LIMITS
from covr.storage import Place

FIX = "fetch the file again, or correct it"
REFUSED = ("Cc", "Cs")
"""Unicode categories that no text holds: control characters, and surrogates (bytes that are not UTF-8)."""
_INTEGER_DIGITS = 18  # fits 64 bits


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
            raise self.refuse(field, f"not a text but {_short(value)}")
        if not value.strip() and not empty:
            raise self.refuse(field, "an empty text")
        if not value.isprintable() and any(unicodedata.category(c) in REFUSED and c not in "\t\n\r" for c in value):
            raise self.refuse(field, f"a control character, or bytes that are not UTF-8, in {_short(value)}")
        return value

    def name(self, field: str) -> str:
        """The name of a clip, image or video: a relative path without `..`, no space around it."""
        return self._name(field, self.text(field))

    def _name(self, field: str, value: Any) -> str:
        if not isinstance(value, str) or not value or value != value.strip() or not value.isprintable():
            raise self.refuse(field, f"not a name: {_short(value)}")
        if value.startswith("/") or "\\" in value or ".." in value.split("/"):
            raise self.refuse(field, f"a name that leaves the data folder: {_short(value)}")
        return value

    def integer(self, field: str) -> int:
        value = self._get(field)
        if isinstance(value, str) and value.isascii() and value.strip().removeprefix("-").isdigit():
            if len(value) > _INTEGER_DIGITS:
                raise self.refuse(field, f"too large a number: {_short(value)}")
            return int(value)
        if type(value) is int and abs(value) < 10**_INTEGER_DIGITS:
            return value
        raise self.refuse(field, f"not a whole number: {_short(value)}")

    def number(self, field: str) -> float:
        """A finite number."""
        value = self._get(field)
        try:
            return self._number(field, float(value) if isinstance(value, str) and "_" not in value else value)
        except ValueError:
            raise self.refuse(field, f"not a number: {_short(value)}") from None

    def _number(self, field: str, value: Any) -> float:
        if type(value) not in (int, float) or not abs(value) < math.inf:
            raise self.refuse(field, f"not a finite number: {_short(value)}")
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
                raise self.refuse(field, f"not a whole number: {_short(value)}")
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
            raise self.refuse(field, f"not a dict with string keys: {_short(value)}")
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
                raise self.refuse(field, f"not an object but {_short(item)}")
            yield Record(item, f"{self._file}, {field}", row)

    def _list(self, field: str) -> list[Any]:
        if self._get(field) == "":
            return []
        value = self._literal(field)
        if not isinstance(value, list):
            raise self.refuse(field, f"not a list: {_short(value)}")
        return value

    def _literal(self, field: str) -> Any:
        value = self._get(field)
        if not isinstance(value, str):
            return value
        try:
            return ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise self.refuse(field, f"not a list or dict: {_short(value)}") from None


def _short(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= 60 else f"{told[:57]}..."


def read_csv(
    place: Place,
    columns: Sequence[str],
    *,
    dialect: Literal["comma", "tab"] = "comma",
    header: bool = True,
) -> Iterator[Record]:
    """The rows of a CSV file, one by one; blank lines are none.

    Args:
        columns: that the header must hold; without a header, all columns in their order.
        dialect: `comma` with quoted fields, or `tab` without quotes.

    Raises:
        UserError: a missing column, a row with more or fewer fields, an unclosed quote.
    """
    file = str(place)
    _require(place)
    csv.field_size_limit(LIMITS.max_field_chars)
    with place.open() as binary, _text(binary) as text:
        pending: list[str] = []  # lines of the row that is being read
        names = list(columns) if not header else None
        row = 0
        reader = _reader(_kept(text, pending), dialect)
        while True:
            pending.clear()
            try:
                values = next(reader, None)
            except csv.Error as error:
                where = (
                    f"{file}, row {row + 1} (line {reader.line_num}), field {_at(pending, dialect, names or columns)}"
                )
                raise UserError(f"not readable as CSV ({error})", where, FIX) from None
            if values is None:
                break
            if not values:
                continue
            if names is None:
                names = _header(values, columns, file)
                continue
            row += 1
            if len(values) != len(names):
                at = names[min(len(values), len(names) - 1)]
                where = f"{file}, row {row} (line {reader.line_num}), field {at}"
                raise UserError(f"{len(values)} fields instead of {len(names)}", where, FIX)
            yield Record(dict(zip(names, values, strict=True)), file, row, reader.line_num)
    if names is None:
        raise UserError("the file is empty", f"{file}, row 1, field {columns[0]}", FIX)


def _require(place: Place) -> None:
    if not place.exists() or place.is_dir():
        raise UserError("no such annotation file", str(place), "see docs/datasets.md for the layout below data.root")


def _text(binary: IO[bytes]) -> io.TextIOWrapper:
    # Bytes that are not UTF-8 become lone surrogates, which `Record` refuses where they stand, by row and field.
    return io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _reader(lines: Iterable[str], dialect: str, strict: bool = True) -> Any:
    if dialect == "comma":
        return csv.reader(lines, strict=strict)
    # A tab-separated file has no quotes: one that stands in a caption is a character like others.
    return csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=strict)


def _kept(lines: Iterable[str], pending: list[str]) -> Iterator[str]:
    for line in lines:
        pending.append(line)
        yield line


def _at(lines: list[str], dialect: str, names: Sequence[str]) -> str:
    """The field at which reading a row failed: where text follows a closing quote, else the last that was begun."""
    text = "".join(lines)
    stray = re.search(r'(?:^|,)"(?:[^"]|"")*"(?=[^,"\r\n])', text)
    begun = max((len(row) for row in _reader([text[: stray.end()] if stray else text], dialect, False)), default=1)
    return names[min(max(begun, 1), len(names)) - 1]


def _header(found: list[str], wanted: Sequence[str], file: str) -> list[str]:
    names = [name.strip() for name in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError("the column stands there twice", f"{file}, header, field {name}", FIX)
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; is it {near[0]!r}?" if near else ""
            fix = f"found are {', '.join(names)[:200]}{hint}"
            raise UserError("no such column", f"{file}, header, field {name}", fix)
    return names


def read_json(place: Place) -> Any:
    """The value of a JSON file.

    Raises:
        UserError: not JSON (with the line), a key twice in one object, or a number that is not finite.
    """
    _require(place)
    return _json(place.read_bytes(), str(place))


def read_records(place: Place) -> Iterator[Record]:
    """The objects of a JSON file that holds a list of them.

    Raises:
        UserError: as of `read_json`, or another value.
    """
    value = read_json(place)
    if not isinstance(value, list):
        raise UserError(f"not a list but {_short(value)}", f"{place}, row 1", FIX)
    for row, item in enumerate(value, 1):
        yield _object(item, str(place), row)


def read_json_lines(place: Place) -> Iterator[Record]:
    """The objects of a file with one JSON object a line; blank lines are none.

    Raises:
        UserError: as of `read_json`, naming the line.
    """
    _require(place)
    with place.open() as file:
        for row, line in enumerate(file, 1):
            if row == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield _object(_json(line, f"{place}, row {row}"), str(place), row)


def read_object(place: Place) -> Record:
    """The one object of a JSON file.

    Raises:
        UserError: as of `read_json`, or another value.
    """
    return _object(read_json(place), str(place), 1)


def _object(value: Any, file: str, row: int) -> Record:
    if not isinstance(value, dict):
        raise UserError(f"not an object but {_short(value)}", f"{file}, row {row}", FIX)
    return Record(value, file, row)


def _json(data: bytes, where: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError("a key stands twice in one object", f"{where}, field {twice}", FIX)
        return found

    def refuse(constant: str) -> None:
        raise UserError(f"the number {constant} is not finite", where, FIX)

    try:
        return json.loads(
            data.decode("utf-8-sig", errors="surrogateescape"), object_pairs_hook=once, parse_constant=refuse
        )
    except json.JSONDecodeError as error:
        raise UserError(f"not JSON ({error.msg})", f"{where}, line {error.lineno}", FIX) from None
    except (RecursionError, ValueError) as error:
        raise UserError(f"not readable JSON ({error})", f"{where}, line 1", FIX) from None
