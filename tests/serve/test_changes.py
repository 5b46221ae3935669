"""Clips that come and go over HTTP, as the documentation has it: an endpoint of its own, because it changes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import httpx
import pytest
from make_videos import make_video
from ray import serve as ray_serve
from small_root import CLIP_IDS, TEXT, build_root, small_retriever

from covr.cli.main import app as command
from covr.storage import Place
from serve.app import app
from serve.settings import Settings


@pytest.fixture(scope="module")
def changing(url, tmp_path_factory):
    """Its address."""
    root = Place(tmp_path_factory.mktemp("changing"))
    build_root(root, small_retriever())
    ray_serve.run(app(Settings(root=str(root))), name="changing", route_prefix="/changing")
    address = url.replace("/retrieval", "/changing")
    httpx.get(f"{address}/readyz", timeout=60).raise_for_status()
    yield address
    ray_serve.delete("changing")


@pytest.fixture
def dive(tmp_path) -> Path:
    return make_video(tmp_path / "dive.mp4", seed=5)


def test_the_documentations_curl_commands(changing, dive):
    text = Path("docs/serving.md").read_text()
    commands = re.findall(r"^    (curl .*(?:\n      .*)*)", text, re.MULTILINE)
    assert len(commands) == 6
    for each in commands:
        asked = each.replace("http://127.0.0.1:8000", changing).replace("CLIP", "a")
        asked = asked.replace("curl ", "curl --silent --show-error --fail-with-body ", 1)
        done = subprocess.run(
            ["bash", "-c", asked], capture_output=True, text=True, cwd=dive.parent, timeout=60, check=False
        )
        assert done.returncode == 0, (each, done.stdout, done.stderr)
        answer = json.loads(done.stdout)
        for found in answer.get("answers", [answer]):
            assert "results" in found or found["clip_id"] == "dive-17"


def test_a_change_that_is_sent_again_is_made_once(changing, dive):
    def add(key: str | None, **fields: str) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        files = {"video": dive.read_bytes()}
        return httpx.post(
            f"{changing}/v1/clips", data={"clip_id": "new", **fields}, files=files, headers=headers, timeout=60
        )

    def index() -> str:
        return httpx.get(f"{changing}/readyz", timeout=60).json()["index"]

    first = add("one", label="x")
    assert first.status_code == 201
    changed = index()
    again = add("one", label="x")
    assert (again.status_code, again.json()) == (201, first.json())
    assert index() == changed
    other = add("one", label="y")
    assert (other.status_code, other.json()["type"]) == (409, "urn:covr:problem:idempotency-key-reused")
    assert add("two", label="y").json()["label"] == "y"
    for status in (200, 200, 404):
        key = {"Idempotency-Key": "three" if status == 200 else "four"}
        assert httpx.delete(f"{changing}/v1/clips/new", headers=key, timeout=60).status_code == status


@pytest.mark.parametrize("as_json", [True, False])
def test_the_clips_commands(changing, dive, monkeypatch, capsys, as_json):
    def run(*arguments: str) -> str:
        asked = ["covr", "clips", *arguments, "--url", changing, *(["--json"] if as_json else [])]
        monkeypatch.setattr("sys.argv", asked)
        with pytest.raises(SystemExit) as ended:
            command()
        assert not ended.value.code
        return capsys.readouterr().out

    added = run("add", "spin 1", str(dive), "--label", "spin", "--attribute", "turns=2")
    got, removed = run("get", "spin 1"), run("remove", "spin 1")
    if as_json:
        assert json.loads(added) == json.loads(got)
        assert json.loads(got)["attributes"] == {"turns": "2"}
        assert json.loads(removed) == {"clip_id": "spin 1"}
    else:
        assert added == "spin 1: 30 frames, indexed\n"
        assert "label: spin" in got
        assert removed == "spin 1: removed\n"


def test_a_query_by_the_command_line_says_what_to_mind(changing, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    asked = ["--clip", CLIP_IDS[0], "--refines", TEXT, "--text", "with a flimflam", "--explain"]
    monkeypatch.setattr("sys.argv", ["covr", "query", "--url", changing, *asked])
    with pytest.raises(SystemExit):
        command()
    shown = capsys.readouterr().out
    assert "the model was never trained on: a, flimflam" in shown
    assert f"{TEXT}, with a flimflam" in shown
    assert "confident" in shown
