"""Annotation files are read as they stand or refused by file, row and field; nothing between, and nothing is run."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_files import FILES, write

from covr.config.compose import build, compose
from covr.datasets.annotations import read_csv, read_json_lines, read_records
from covr.datasets.benchmark import Benchmark
from covr.datasets.dataset import Dataset
from covr.errors import UserError
from covr.storage import Place

READ = {
    "webvid-covr": ("annotation/webvid-covr/webvid8m-covr_test.csv", ("pth1", "pth2", "edit", "scores")),
    "cc-coir": ("annotation/cc-coir/cc-coir_train.csv", ("pth1", "pth2", "edit")),
    "egocvr": ("egocvr_annotations.csv", ("video_clip_id", "target_clip_ids", "instruction", "modified_captions")),
    "tf-covr": ("test_finegd.csv", ("query_id", "query_video", "target_video", "target_videos_ids", "modification")),
    "cirr": ("captions/cap.rc2.val.json", ("pairid", "reference", "target_soft", "caption", "img_set")),
    "fashioniq": ("captions/cap.shirt.val.json", ("candidate", "captions")),
    "circo": ("annotations/val.json", ("id", "reference_img_id", "relative_caption", "shared_concept", "gt_img_ids")),
    "mtcir": ("mtcir.jsonl", ("image", "target_image", "modifications")),
}
"""A file of each set that is damaged, and its fields that must be of one type."""
GARBAGE = {
    "scores": ["[0.1, nan]", "[0.1, 'x']", "0.5", "[0.1", "__import__('os').abort()", "[1e999]", "[True]"],
    "target_clip_ids": [
        "['u1_10_19'",
        "['u1_10_19' 'u1_20_29']",
        "[1]",
        "nowhere",
        "{'a': 1}",
        "[]",
        "['../../etc/passwd']",
        "[''']",
    ],
    "target_videos_ids": ["['a'", "[None]", "a, b", "{'a'}", "['/etc/passwd']", "[" * 5000, "-" * 90000 + "1"],
    "query_id": ["", "1.5", "one", "9" * 400, "0x1", "--1", "\x1d1", "١"],
}
NAMES = (
    "pth1",
    "pth2",
    "video_clip_id",
    "query_video",
    "target_video",
    "image",
    "target_image",
    "candidate",
    "reference",
)
BAD_NAMES = ["", " ", "a\x00b", "../up", "/root", "a\nb", " a", "a\\b", "a\udc80"]
BAD_TEXTS = ["", "  ", "a\x07b", "bytes \udcff\udcfe"]
BAD_JSON = [None, 1.5, True, [], {}, [None], {"a": None}, "", "a\u0000", {"id": "x"}, [[]]]


def read(reader: Benchmark, folder: Path) -> Dataset:
    return replace(reader, root=str(folder)).read(Place(folder / "out"))


def raw(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogateescape")


def damage_csv(text: str, fields: tuple[str, ...], draw: random.Random) -> tuple[bytes, str | None]:
    """Damaged bytes, and what the refusal must say (None: the file still says the same)."""
    header, *rows = list(csv.reader(io.StringIO(text)))
    row, field = draw.randrange(len(rows)), draw.choice(fields)
    at = header.index(field)
    where = rf"row {row + 1} .*field {field}"

    def lines(**changed: object) -> bytes:
        file = io.StringIO(newline="")
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
        return raw(file.getvalue())

    match draw.randrange(11):
        case 0:
            header[at] = f"{field}s"
            return lines(), rf"header, field {field}"
        case 1:
            header = [*header, field]
            rows = [[*row, ""] for row in rows]
            return lines(), rf"header, field {field}"
        case 2:
            rows[row] = rows[row][:at]
            return (lines(), rf"row {row + 1} .*field {field}") if at else (raw(text) + b"\n\n", None)
        case 3:
            rows[row].append("more")
            return lines(), rf"row {row + 1} .*field {header[-1]}"
        case 4 | 5 | 6:
            rows[row][at] = draw.choice(GARBAGE.get(field, BAD_NAMES if field in NAMES else BAD_TEXTS))
            return lines(), where
        case 7:
            broken = [",".join(header), *(",".join(f'"{value}"' for value in one) for one in rows)]
            cells = [f'"{value}"' for value in rows[row]]
            cells[at] = draw.choice([f'"{rows[row][at]}', f'"{rows[row][at]}"x'])
            broken[row + 1] = ",".join(cells)
            return raw("\n".join(broken[: row + 2])), rf"row {row + 1} .*field"
        case 8:
            return b"", r"row 1, field"
        case 9:
            order = draw.sample(range(len(header)), len(header))
            header, rows = [header[i] for i in order], [[one[i] for i in order] for one in rows]
            return b"\xef\xbb\xbf" + lines().replace(b"\n", b"\r\n"), None
        case _:
            header, rows = [*header, "another"], [[*one, "x"] for one in rows]
            return lines() + b"\n\n", None


def damage_json(text: str, fields: tuple[str, ...], draw: random.Random, by_line: bool) -> tuple[bytes, str | None]:
    items = [json.loads(line) for line in text.splitlines()] if by_line else json.loads(text)
    row, field = draw.randrange(len(items)), draw.choice(fields)
    where = rf"row {row + 1}.*field {field}"

    def dump() -> bytes:
        file = "\n".join(map(json.dumps, items)) if by_line else json.dumps(items)
        return raw(file)

    match draw.randrange(9):
        case 0:
            del items[row][field]
            return dump(), where
        case 1 | 2 | 3:
            value, old = draw.choice(BAD_JSON), items[row][field]
            if value == {} and field == "target_soft":
                value = None
            items[row][field] = value
            return dump(), where if repr(value) != repr(old) else None
        case 4:
            items[row] = draw.choice([None, [], 1, "row"])
            return dump(), rf"row {row + 1}"
        case 5:
            data = dump()
            cut = data[: draw.randrange(1, len(data) - 2)].rstrip(b"\n}")  # inside a line: a whole one less is no fault
            return cut, r"row \d+|line \d+"
        case 6 | 7:
            name, twice = f'"{field}": '.encode(), draw.choice(["NaN", "1"])
            before, after = dump().rsplit(name, 1)  # of the last row
            return before + name + f"{twice}, ".encode() + name + after, rf"row {len(items)}(, field {field}|\])"
        case _:
            items = [{"another": 1, **dict(reversed(list(item.items())))} for item in items]
            return b"\xef\xbb\xbf" + dump().replace(b"}, {", b"},\r\n {") + b"\r\n", None


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory):
    """The reader of each set and the fingerprint of its tables."""
    found = {}
    for name in READ:
        folder = tmp_path_factory.mktemp(name)
        reader = build(compose(write(name, folder)).data)
        found[name] = reader, read(reader, folder).fingerprint()
    return found


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(sorted(READ)), seed=st.integers(0, 2**32))
def test_a_damaged_file_is_refused_by_file_row_and_field_or_read_right(undamaged, name, seed):
    reader, fingerprint = undamaged[name]
    path, fields = READ[name]
    text = FILES[name]()[path]
    draw = random.Random(seed)
    if path.endswith(".csv"):
        data, says = damage_csv(text, fields, draw)
    else:
        data, says = damage_json(text, fields, draw, by_line=path.endswith("l"))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write(name, folder)
        (folder / path).write_bytes(data)
        if says is None:
            assert read(reader, folder).fingerprint() == fingerprint
            return
        with pytest.raises(UserError) as caught:
            read(reader, folder)
    line = str(caught.value)
    assert str(folder / path) in line
    assert re.search(says, line), (says, line)


def test_a_value_is_parsed_and_never_run(tmp_path):
    file = tmp_path / "a.csv"
    trap = tmp_path / "trap"
    file.write_text(f"names\n\"[open({str(trap)!r}, 'w')]\"\n")
    (record,) = read_csv(Place(file), ["names"])
    with pytest.raises(UserError, match=r"row 1 .*field names"):
        record.names("names")
    assert not trap.exists()


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20), st.lists(st.text(max_size=9), max_size=5)
)
def test_lists_in_strings_are_read_back(numbers, texts):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.csv")
        with file.open("w", newline="", encoding="utf-8", errors="surrogatepass") as opened:
            csv.writer(opened).writerows([["numbers", "texts"], [str(numbers), str([f"x{text!r}" for text in texts])]])
        (record,) = read_csv(Place(file), ["numbers", "texts"])
    assert record.numbers("numbers") == numbers
    if all(text.isprintable() for text in texts):
        assert record.texts("texts", empty=True) == [f"x{text!r}" for text in texts]


@pytest.mark.parametrize("reader", [read_records, read_json_lines])
def test_the_wrong_kind_of_file_is_refused(reader, tmp_path):
    for number, content in enumerate((b'{"a": 1}' * 2, b"[1]", b'"x"', b"\xff\xfe", b"[" * 100_000)):
        file = tmp_path / str(number)
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"{file}, (row|line) "):
            list(reader(Place(file)))
    with pytest.raises(UserError, match="no such annotation file"):
        list(reader(Place(tmp_path / "absent")))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("['A0_E_2' 'A0_E_3']", "comma is missing"),
        ("['it\\'s'\n\"x\", 'b']", "comma is missing"),
        ("[{'5': 1, '5': 2}]", "key stands there twice"),
    ],
)
def test_a_literal_that_python_reads_as_another_is_refused(value, says, tmp_path):
    """Two strings side by side are one to Python, and of a key given twice the last value counts."""
    file = tmp_path / "a.csv"
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([["names"], [value]])
    (record,) = read_csv(Place(file), ["names"])
    with pytest.raises(UserError, match=rf"{says}.*row 1 .*field names"):
        record.texts("names")


def test_captions_from_the_web_may_hold_upper_control_characters(tmp_path):
    (tmp_path / "a.csv").write_text("text\nit\x92s\na\x07b\n")
    first, second = read_csv(Place(tmp_path / "a.csv"), ["text"])
    assert first.text("text") == "it\x92s"
    with pytest.raises(UserError, match=r"a control character.*row 2 .*field text"):
        second.text("text")


@pytest.mark.parametrize(
    ("read", "content"),
    [(lambda place: read_csv(place, ["a"]), "a,b\n\n"), (read_records, "[]"), (read_json_lines, "\n\n")],
)
def test_a_file_without_rows_is_refused(read, content, tmp_path):
    (tmp_path / "file").write_text(content)
    with pytest.raises(UserError, match=rf"{tmp_path / 'file'}, row 1"):
        list(read(Place(tmp_path / "file")))
