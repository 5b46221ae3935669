"""README and docs as a newcomer follows them: their commands, word for word and in order, on small data.

What stands for the reader's own (`DIR`, a clip's name) is put in, and options that only shorten the work are added.
"""

from __future__ import annotations

import pytest
from doc_commands import blocks
from newcomer import Reader
from own_clips import make_own_clips, write_labels

pytestmark = [pytest.mark.drill, pytest.mark.timeout(3600)]
FOLLOWED = ("docs/getting-started.md", "README.md", "docs/own-clips.md", "docs/concepts.md", "docs/operations.md")
ELSEWHERE = {  # command -> who runs it
    "git clone URL covr": "who reads this",
    "cd covr": "who reads this",
    "make install": "make, before anything else",
    "make test": "make test",
    "covr submit": "tests/cluster/test_submit_command.py",
    "covr jobs list": "tests/cluster/test_submit_command.py",
    "covr doctor --address": "tests/cluster/test_submit_command.py",
    ".venv/bin/mlflow ui": "tests/tracking/test_ui_in_browser.py",
    "python benchmarks/": "who measures",
    "make drills-cluster": "who changes what runs on clusters",
    ".venv/bin/python -m pytest": "who changes what runs on clusters",
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    clips = tmp_path_factory.mktemp("clips")
    write_labels(clips, make_own_clips(clips))
    reader = Reader(tmp_path_factory.mktemp("checkout"), clips, "phone/clip 02.MOV")
    yield reader
    reader.stop()


@pytest.mark.parametrize("document", FOLLOWED)
def test_the_document_can_be_followed(reader, document):
    followed = [each for each in blocks(document) if not any(map(each.startswith, ELSEWHERE))]
    assert followed
    for command in followed:
        reader.types(command)
    reader.stop()
