"""The whole loop on one's own clips, and the endpoint that then answers with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import urljoin

import pytest
from omegaconf import OmegaConf
from own_clips import make_own_clips, write_labels

from covr.client import Client
from covr.job import Job
from covr.storage import Place
from serve.run import serving

pytestmark = [pytest.mark.drill, pytest.mark.timeout(900)]
REPO = Path(__file__).parents[2]
SHORT = ("model/text=random", "model.pretrain.max_epochs=1", "model.finetune.max_epochs=2", "test.bootstrap=50")


def run(*options: str) -> str:
    command = [sys.executable, "jobs/pipeline.py", "data=folder", *options]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path, str]:
    folder, out = tmp_path_factory.mktemp("clips"), tmp_path_factory.mktemp("out")
    write_labels(folder, make_own_clips(folder))
    return folder, out, run(f"data.root={folder}", f"out={out}", "index.gallery=all", *SHORT)


def test_own_clips_are_trained_on_and_asked_for(trained):
    _, out, said = trained
    assert "query: " in said
    results = Place(out / "results.json").read_json()
    assert [row["row"] for row in results["rows"]] == ["composed", "text-only", "video-only", "average", "chance"]
    assert results["rows"][0]["queries"] == 8


@pytest.mark.browser
def test_the_endpoint_answers_with_clips_that_play_in_a_browser(trained, ray_cluster, browser):
    """All twenty: HEVC, ten bits, AVI, MPEG-TS and Matroska too, which browsers do not play as they are."""
    folder, out, _ = trained
    job = Job.from_overrides([f"out={out}"])
    with serving(Place(out), OmegaConf.merge(job.cfg.serve, {"port": 0})) as url, Client(url) as client:
        answer = client.search(video=folder / "phone/clip 01.mov", text="twice instead of once", k=20)
        assert len(answer.results) == 19  # all but the one that was asked about
        everything = client.search(text="jump twice", k=20).results
        assert len(everything) == 20
        page = browser.new_page()
        for result in everything:
            page.set_content(f'<video src="{urljoin(url, result.media)}" muted autoplay></video>')
            page.wait_for_function("document.querySelector('video').currentTime > 0.2", timeout=30_000)
            assert page.evaluate("document.querySelector('video').videoHeight") > 0
        page.close()


def test_a_folder_without_labels_is_searched_with_that_retriever(trained, ray_cluster, tmp_path):
    folder = tmp_path / "more"
    make_own_clips(folder, per_label=2)
    out = tmp_path / "out"
    said = run(f"data.root={folder}", f"out={out}", f"index.retriever={trained[1]}/retrievers/composed")
    assert "python -m serve" in said
    job = Job.from_overrides([f"out={out}"])
    with serving(Place(out), OmegaConf.merge(job.cfg.serve, {"port": 0})) as url, Client(url) as client:
        assert client.ready().clips == 8
