"""CSV files as people have them: saved by a spreadsheet, with commas, semicolons or tabs, with or without a BOM."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from covr.errors import UserError
from covr.limits import LIMITS

_DELIMITERS = ",;\t"
_CELL = 4 * LIMITS.max_text_chars


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row that is not blank: the text of each column, stripped, empty where the row has none."""

    where: str
    """File and line, for messages."""
    values: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.values.get(column, "")


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvFile:
    """Columns, lower case and in the file's order, and rows."""

    columns: list[str]
    rows: list[Row]
    delimiter: str


def parse(data: bytes, name: str, *, required: Collection[str], any_of: Collection[str] = ()) -> CsvFile:
    """Read a CSV file whose first line names its columns.

    Args:
        name: what messages call the file.
        required: columns that must be there.
        any_of: columns of which one at least must be there.

    Raises:
        UserError: not text, no or wrong header, a column twice, a row with more cells than columns, an overlong cell.
    """
    text = _text(data, name)
    delimiter = _delimiter(text, required)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    columns: list[str] | None = None
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if columns is None:
                columns = _header([cell.lower() for cell in cells], name, required, any_of)
            else:
                rows.append(_row(columns, cells, f"{name} line {reader.line_num}"))
    except csv.Error as error:
        fix = "put quotes around cells that hold the separator, and close every quote"
        raise UserError(f"not a CSV file ({error})", f"{name} line {reader.line_num}", fix) from None
    if columns is None:
        raise UserError("the file is empty", name, f"its first line names the columns: {', '.join(required)}, ...")
    return CsvFile(columns=columns, rows=rows, delimiter=delimiter)


def _text(data: bytes, name: str) -> str:
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # what spreadsheets call "Unicode text"
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError("not UTF-8 text", f"{name} line {line}", "save it as CSV UTF-8") from None
    if "\0" in text:
        raise UserError("not a text file", name, "save it as CSV UTF-8")
    return text


def _delimiter(text: str, required: Collection[str]) -> str:
    """The one by which the first line names the required columns; else the one that cuts it into most cells."""
    first = next((line for line in text.splitlines() if line.strip(_DELIMITERS + " ")), "")
    cut = {delimiter: [cell.strip(' "').lower() for cell in first.split(delimiter)] for delimiter in _DELIMITERS}
    return max(_DELIMITERS, key=lambda delimiter: (set(required) <= set(cut[delimiter]), len(cut[delimiter])))


def _header(columns: list[str], name: str, required: Collection[str], any_of: Collection[str]) -> list[str]:
    found = ", ".join(column or "(no name)" for column in columns)
    for column in required:
        if column not in columns:
            raise UserError(f"no column {column!r}", name, f"name it in the first line, which has: {found}")
    if any_of and not set(any_of) & set(columns):
        fix = f"name it in the first line, which has: {found}"
        raise UserError(f"no column {' or '.join(map(repr, any_of))}", name, fix)
    column, count = Counter(column for column in columns if column).most_common(1)[0]
    if count > 1:
        raise UserError(f"column {column!r} is there {count} times", name, "keep one, or rename the others")
    return columns


def _row(columns: list[str], cells: list[str], where: str) -> Row:
    extra = [cell for column, cell in zip(columns, cells, strict=False) if not column]
    extra += cells[len(columns) :]
    if any(extra):
        raise UserError(
            f"{len(cells)} cells, but {len([c for c in columns if c])} columns have a name",
            where,
            "put quotes around a cell that holds the separator, or name the column in the first line",
        )
    if any(len(cell) > _CELL for cell in cells):
        raise UserError(f"a cell has more than {_CELL} characters", where, "shorten it, or close its quote")
    return Row(where=where, values={column: cell for column, cell in zip(columns, cells, strict=False) if column})
