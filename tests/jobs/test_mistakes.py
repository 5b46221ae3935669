"""What a user does wrong at the command line is answered in one line, with a non-zero exit and no hang."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from covr.job import main

REPO = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["jobs/pipeline.py", "data.sise=tiny"], "did you mean data.size"),
        (["jobs/pipeline.py", "data=motion"], "choose one of"),
        (["jobs/pipeline.py", "data.size=enormous"], "tiny"),
        (["jobs/pretrain.py"], "jobs/ingest.py"),
        (["jobs/embed.py"], "run jobs/"),
        (["jobs/finetune.py"], "run jobs/"),
        (["jobs/index.py"], "run jobs/"),
        (["jobs/evaluate.py"], "run jobs/"),
        (["jobs/pretrain.py", "model=tf-covr-base", "model.video.weights=/nowhere/ViT-B-16.safetensors"], "/nowhere"),
        (["jobs/pretrain.py", "model=blip-covr"], "model.ckpt.path"),
        (["jobs/finetune.py", "model=covr-2"], "run jobs/pretrain.py"),
        (["jobs/pipeline.py", "trainer.logger.uri=nowhere://x"], "tracking URI"),
        (["jobs/ingest.py", "data=folder", "data.root=/nowhere/clips"], "/nowhere/clips"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys, command, says):
    out = [] if any(option.startswith("out=") for option in command) else [f"out={tmp_path}"]
    script, *options = command
    monkeypatch.setattr(sys, "argv", [script, *options, *out])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPO / script), run_name="__main__")
    printed = capsys.readouterr().err
    assert ended.value.code == 2, printed
    line = printed.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert says in line
    assert "Traceback" not in printed


def test_a_full_disk_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["jobs/embed.py", f"out={tmp_path}"])
    with pytest.raises(SystemExit) as ended:
        main(lambda job: Path("/dev/full").write_bytes(b"x"))
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"error: no space left on the disk [{tmp_path}]: make room; the same command goes on from here\n"
    )
