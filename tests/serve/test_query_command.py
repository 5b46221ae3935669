"""The client and `covr query` against the running endpoint."""

from __future__ import annotations

import json
from urllib.parse import urljoin

import pytest
from small_root import CLIP_IDS, TEXT

from covr.cli.main import app
from covr.client import Client, RequestRefused


@pytest.fixture
def client(url):
    with Client(url) as client:
        yield client


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit status, output and errors of the command."""
    monkeypatch.setattr("sys.argv", ["covr", "query", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        app()
    printed = capsys.readouterr()
    return ended.value.code or 0, printed.out, printed.err


def test_the_client_finds_by_id_and_by_file(client, served):
    by_id = client.search(clip_id="a", text=TEXT, k=4)
    by_file = client.search(video=served.media("a"), text=TEXT, k=4)
    assert [result.clip_id for result in by_file.results] == [result.clip_id for result in by_id.results]
    assert client.fetch(by_id.results[0].media) == served.media(by_id.results[0].clip_id).read_bytes()
    assert client.ready().clips == 5


@pytest.mark.parametrize("clip_id", CLIP_IDS)
def test_the_client_gets_a_clip(client, clip_id):
    assert client.clip(clip_id).clip_id == clip_id


def test_a_refusal_keeps_status_and_request(client):
    with pytest.raises(RequestRefused, match="No clip of this id") as raised:
        client.search(clip_id="nope", text=TEXT)
    assert raised.value.status == 404
    assert raised.value.problem.request_id in str(raised.value)
    with pytest.raises(RequestRefused, match=r"k: Input should be less than or equal to 1000"):
        client.search(clip_id="a", text=TEXT, k=1001)


def test_the_command_prints_a_table(monkeypatch, capsys, url, served):
    status, out, err = run(
        monkeypatch, capsys, "--url", url, "--video", str(served.media("a")), "--text", TEXT, "-k", "3"
    )
    assert (status, err) == (0, "")
    with Client(url) as client:
        for result in client.search(clip_id="a", text=TEXT, k=3).results:
            assert f"│ {result.clip_id} " in out
            assert urljoin(url, result.media) in out


def test_the_command_filters_pages_and_explains(monkeypatch, capsys, url):
    where = '{"field": "label", "in": ["label 1", "label 2", "label 3"]}'
    asked = ["--url", url, "--text", TEXT, "--filter", where, "--exclude", "b"]
    status, first, _ = run(monkeypatch, capsys, *asked, "-k", "1", "--explain")
    assert status == 0
    assert "text" in first
    assert "encode" in first
    cursor = first.split("--cursor ")[1].split()[0]
    status, second, _ = run(monkeypatch, capsys, *asked, "-k", "1", "--cursor", cursor, "--json")
    answer = json.loads(second)
    assert (status, answer["mode"], answer["next"], len(answer["results"])) == (0, "text", None, 1)
    assert {"dive/2½ somersaults", "e?f#g"} == {
        answer["results"][0]["clip_id"],
        next(clip_id for clip_id in ("dive/2½ somersaults", "e?f#g") if f"│ {clip_id} " in first),
    }


def test_the_command_prints_json(monkeypatch, capsys, url):
    status, out, _ = run(monkeypatch, capsys, "--url", url, "--clip", "a", "--text", TEXT, "-k", "2", "--json")
    assert status == 0
    assert len(json.loads(out)["results"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clip", "nope", "--text", TEXT], "No clip of this id is indexed."),
        (["--clip", "a", "--text", " "], "text: Value error, must not be blank"),
        (["-k", "5"], "nothing to search by"),
        (["--text", TEXT, "--filter", "{"], "not JSON"),
    ],
)
def test_a_mistake_is_one_clear_line_and_status_2(monkeypatch, capsys, url, arguments, message):
    status, out, err = run(monkeypatch, capsys, "--url", url, *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
