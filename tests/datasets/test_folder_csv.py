"""CSV files as people save them, and what their mistakes are answered with."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covr.datasets.folder.csv_file import parse
from covr.datasets.folder.listing import Files, clip_id, read_listing, seconds
from covr.errors import UserError
from covr.storage import Place

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).map(str.strip).filter(bool)
NAMES = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True).filter(lambda name: name != "clip")


@given(
    st.lists(NAMES, min_size=1, max_size=3, unique=True),
    st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT), max_size=6),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_a_spreadsheet_writes_is_read_back(names, cells, delimiter, newline, encoding):
    columns = ["clip", *names]
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=newline)
    writer.writerow([column.upper() for column in columns])
    writer.writerow([])
    writer.writerows(row[: len(columns)] for row in cells)
    table = parse(file.getvalue().encode(encoding), "labels.csv", required=["clip"])
    assert table.columns == columns
    assert [[row[column] for column in columns] for row in table.rows] == [list(row[: len(columns)]) for row in cells]


@given(st.binary(max_size=200))
def test_any_bytes_are_rows_or_one_line(data):
    try:
        said = str(parse(b"clip\n" + data, "labels.csv", required=["clip"]).rows)
    except UserError as error:
        said = str(error)
    assert "\n" not in said
    assert "labels.csv" in said or said == "[]"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("file,label\na,b\n", "no column 'clip'.*which has: file, label"),
        ("clip,label,label\na,b,c\n", "column 'label' is there 2 times"),
        ("clip,label\na,b,c\n", r"3 cells, but 2 columns have a name.*line 2"),
        ('clip,label\na,"b\n', "not a CSV file"),
        ("clip,label\na,b\nb,\xff\xfe", "not UTF-8 text.*line 3"),
        ("clip,label\na,\0\n", "not a text file"),
    ],
)
def test_a_mistake_names_file_and_line(text, says):
    with pytest.raises(UserError, match=says):
        parse(text.encode("latin-1"), "labels.csv", required=["clip"])


def listing(tmp_path, names=("a.mp4", "b.mov", "c/d e.mp4"), **texts: str):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return read_listing(Place(tmp_path), Files([*names, *(f"{name}.csv" for name in texts)]))


def test_clips_are_found_with_and_without_their_ending(tmp_path):
    text = "clip;label;split;colour\r\nA.mp4;x;training;red\r\nb;y;;\r\na;z;dev;blue\r\nc\\d e.mp4;y;;\r\n"
    found = listing(tmp_path, labels=text)
    assert [(each.file, each.label, each.split) for each in found.entries] == [
        ("b.mov", "y", None),
        ("a.mp4", "z", "val"),
        ("c/d e.mp4", "y", None),
    ]
    assert [each.clip_id for each in found.missing] == ["A.mp4"]
    assert found.attributes == ["colour"]
    assert found.entries[1].attributes == {"colour": "blue"}
    assert found.entries[2].clip_id == "c/d%20e.mp4"


def test_segments_take_what_they_do_not_say_from_the_file(tmp_path):
    found = listing(
        tmp_path,
        labels="clip,label,source\na,jump,monday\nb,spin,\n",
        segments="clip;start_s;end_s;label\na;0;1,5;\na.mp4;1:02.5;;roll\n",
    )
    assert [(each.clip_id, each.label, each.source) for each in found.entries] == [
        ("b.mov", "spin", None),
        ("a.mp4#t=0,1.5", "jump", "monday"),
        ("a.mp4#t=62.5", "roll", "monday"),
    ]
    assert found.unlisted == ["c/d e.mp4"]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ("clip,label\na,x\na.mp4,y\n", "'a.mp4' is named twice.*line 2 and labels.csv line 3.: keep one"),
        ("clip,label\n../a.mp4,x\n", "not below the folder"),
        ("clip,label\n/etc/passwd,x\n", "not below the folder"),
        ("clip,label,split\na,x,trian\n", "unknown split 'trian'.*line 2.*train, val, test"),
        ("clip,label,start_s,end_s\na,x,5,4\n", "ends at 4 s before it starts"),
        ("clip,label,start_s,end_s\na,x,abc,4\n", "no time: 'abc'"),
        ("clip,label\n,x\n", "a row without a clip"),
        ("clip,label\n", "no clip is named"),
        (f"clip,label\na,{'x' * 3000}\n", "a label of 3000 characters"),
    ],
)
def test_a_wrong_row_is_one_line(tmp_path, labels, says):
    with pytest.raises(UserError, match=says):
        listing(tmp_path, labels=labels)


def test_a_name_that_several_files_have_is_asked_about(tmp_path):
    with pytest.raises(UserError, match=r"may be a\.mov or a\.mp4.*give the ending"):
        listing(tmp_path, names=("a.mp4", "a.mov"), labels="clip,label\na,x\n")


def test_letters_with_accents_are_found_however_they_are_written(tmp_path):
    found = Files(["Übung.mp4"]).find("U\N{COMBINING DIAERESIS}bung", "here")
    assert found == "Übung.mp4"


def test_times_and_ids():
    assert [seconds(text, "") for text in ("", "90.5", "1:30.5", "0:01:30")] == [None, 90.5, 90.5, 90.0]
    assert seconds("1,5", "", comma=True) == 1.5
    assert clip_id("a b%.mp4", None, 2.0) == "a%20b%25.mp4#t=0,2"
