"""Annotation files as published, read strictly: CSV, tab-separated, JSON and JSON lines.

A byte order mark and any line ends are accepted. What is no file of the declared form, or holds no row, is refused,
naming file, row and field; so is, by `covr.datasets.record`, each value that is not of its type.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, Literal

from covr.datasets.record import FIX, Record, short
from covr.errors import UserError
from covr.limits import LIMITS
from covr.storage import Place

_FAULT = "a fault was here"  # in place of what cannot stand, until its row is known


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
        UserError: a missing column, a row with more or fewer fields, an unclosed quote, or no row at all.
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
    if not row:
        raise UserError("the file has no rows", f"{file}, row 1, field {columns[0]}", FIX)


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
    return _json(place.read_bytes(), str(place), None)


def read_records(place: Place) -> Iterator[Record]:
    """The objects of a JSON file that holds a list of them.

    Raises:
        UserError: as of `read_json`, another value, or an empty list.
    """
    value = read_json(place)
    if not isinstance(value, list) or not value:
        raise UserError(f"not a list of objects but {short(value)}", f"{place}, row 1", FIX)
    for row, item in enumerate(value, 1):
        yield _object(item, str(place), row)


def read_json_lines(place: Place) -> Iterator[Record]:
    """The objects of a file with one JSON object a line; blank lines are none.

    Raises:
        UserError: as of `read_json`, naming the line; or no row at all.
    """
    _require(place)
    empty = True
    with place.open() as file:
        for row, line in enumerate(file, 1):
            if row == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                empty = False
                yield _object(_json(line, str(place), row), str(place), row)
    if empty:
        raise UserError("the file has no rows", f"{place}, row 1", FIX)


def read_object(place: Place) -> Record:
    """The one object of a JSON file.

    Raises:
        UserError: as of `read_json`, or another value.
    """
    return _object(read_json(place), str(place), 1)


def _object(value: Any, file: str, row: int) -> Record:
    if not isinstance(value, dict):
        raise UserError(f"not an object but {short(value)}", f"{file}, row {row}", FIX)
    return Record(value, file, row)


def _json(data: bytes, file: str, row: int | None) -> Any:
    """The value of a JSON text, the row of its file (None: a list's items are the rows)."""
    faults: list[tuple[str, str]] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            faults.append(("a key stands twice in one object", f", field {twice}"))
            found[_FAULT] = None
        return found

    def refuse(constant: str) -> str:
        faults.append((f"the number {constant} is not finite", ""))
        return _FAULT

    where = file if row is None else f"{file}, row {row}"
    try:
        text = data.decode("utf-8-sig", errors="surrogateescape")
        value = json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise UserError(f"not JSON ({error.msg})", f"{where}, line {error.lineno}", FIX) from None
    except (RecursionError, ValueError) as error:
        raise UserError(f"not readable JSON ({error})", f"{where}, line 1", FIX) from None
    if faults:
        problem, field = faults[0]
        items = enumerate(value if isinstance(value, list) else (), 1)
        row = row or next((number for number, item in items if _FAULT in repr(item)), 1)
        raise UserError(problem, f"{file}, row {row}{field}", FIX)
    return value
