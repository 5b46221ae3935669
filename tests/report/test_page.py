"""report.html is one whole file that needs nothing else."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser

import tiny_report

from covr.report.page import curves, stage1
from covr.storage import Place
from covr.tracking import Journal

VOID = {"meta", "link", "img", "br", "hr", "input", "rect", "line", "path"}


class Balanced(HTMLParser):
    """Every element that is opened is closed, in order; attributes and text are collected."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href") and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_well_formed_and_self_contained(html):
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    assert parser.links == []
    assert not re.search(r"(https?:)?//\w+\.\w+", re.sub(r"[A-Za-z0-9+/=]{200,}", "", html))
    assert "@import" not in html


def test_names_are_text_and_never_markup(html):
    assert "tiny &amp; &lt;b&gt;small&lt;/b&gt;" in html
    assert "roll <i>" not in html


def test_says_what_there_is(html):
    parser = Balanced()
    parser.feed(html)
    text = " ".join(" ".join(parser.text).split())
    for wanted in (
        "mAP@10",
        "R@50",
        "by kind of edit",
        "failures first",
        "By what the text changes",
        "jump taken for roll <i>",
        "pretrain loss",
    ):
        assert wanted in text, wanted
    assert "75.0 %" in text
    assert re.search(r"composed against text-only: 0 won, \d+ alike, 0 lost", text)  # they gave the same answers


def test_every_clip_lies_in_the_page_once(html):
    media = json.loads(re.search(r'id="media">(.*?)</script>', html, re.S)[1])
    used = re.findall(r'data-clip="([^"]+)"', html)
    assert set(used) == media.keys()
    assert len(used) == 12 * 6
    for text in list(media.values())[:3]:
        assert html.count(text) == 1


def test_a_clip_that_is_gone_is_said_to_be(root, asked, ranked, tmp_path):
    folder = tmp_path / "root"
    shutil.copytree(root.local(), folder)
    shown = re.search(r'data-clip="([^"]+)"', tiny_report.rendered(root, asked, ranked))[1]
    (folder / "media" / "test" / f"{shown}.mp4").write_bytes(b"")
    html = tiny_report.rendered(Place(folder), asked, ranked)
    assert "not decodable" in html
    assert f'data-clip="{shown}"' not in html


def test_without_stage_1_and_curves_the_rest_is_there(filmed, asked, ranked):
    html = tiny_report.rendered(filmed, asked, ranked)
    assert "Stage 1" not in html
    assert ">Training<" not in html
    assert "failures first" in html
    assert stage1(filmed) is None
    assert curves(filmed) == []


def test_the_same_tables_give_the_same_bytes(root, asked, ranked, html):
    assert tiny_report.rendered(root, asked, ranked) == html


def test_the_latest_run_of_a_name_is_drawn(tmp_path):
    journals = [Journal(Place(tmp_path), key) for key in ("pretrain-b", "pretrain-a")]
    for began, (journal, first) in enumerate(zip(journals, (5.0, 3.0), strict=True)):
        journal.append({"start": "pretrain", "step": None, "params": {}, "parent": None, "time": began})
        journal.append({"metrics": {"loss": first}, "step": 0, "time": began})
        journal.append({"metrics": {"loss": first / 2}, "step": 1, "time": began})
    (drawn,) = curves(Place(tmp_path))
    assert drawn.points == [(0, 3.0), (1, 1.5)]


def test_all_bars_have_one_scale_and_none_is_cut(html):
    """Groups of queries reach higher than the rows of the table, whose scale they were once drawn on."""
    bars = re.findall(r'x2="([\d.]+)%" y1="9".*?<span class="soft">[\d.]+–([\d.]+)</span>', html, re.S)
    assert len(bars) >= 5
    ends = [100 * float(high) / float(share) for share, high in bars if float(high) > 20]
    assert max(ends) - min(ends) < 1, bars
