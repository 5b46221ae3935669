"""Options as CoVR's users write them: read as ours, or answered with the nearest thing in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from covr.config.compose import compose
from covr.config.names import NEAREST, RENAMED, SAME, translate
from covr.errors import UserError

REPO = Path(__file__).parents[2]
GUIDE = REPO / "docs" / "coming-from-covr.md"

ACCEPTED = [
    "data=webvid-covr",
    "data=cirr",
    "data=fashioniq",
    "data=fashioniq-dress",
    "data=fashioniq-shirt",
    "data=fashioniq-toptee",
    "data=cc-coir",
    "model/loss=hn_nce",
    "model/loss=cross_entropy",
    "model/loss_terms=si_ti",
    "model/loss_terms=si_ti+si_tc",
    "model/optimizer=adamw",
    "model/scheduler=cosine",
    "model/scheduler=step",
    "test=all",
    "test=webvid-covr",
    "test=webvid-covr_text",
    "test=webvid-covr_visual",
    "test=cirr",
    "test=cirr-val",
    "test=circo",
    "test=circo-val",
    "test=fashioniq",
    "test=fashioniq-dress",
    "test=finegd-test-aim",
    "test=finegd-test-aim-clip",
    "trainer.devices=2",
    "model.optimizer.lr=1e-4",
]


@pytest.mark.parametrize("override", [*ACCEPTED, *SAME, *(f"{name}=4" for name in RENAMED)])
def test_every_option_with_a_counterpart_composes(override):
    needs_joint = ["model=blip-covr"] if "emb_pool" in override or "middle-emb" in override else []
    compose([*needs_joint, override])


@pytest.mark.parametrize("option", NEAREST)
def test_an_option_without_one_is_answered_with_the_nearest_in_one_line(option):
    override = option if "=" in option else f"{option}=something"
    with pytest.raises(UserError) as caught:
        compose([override])
    assert "no counterpart" in str(caught.value)
    assert NEAREST[option] in str(caught.value)


def test_our_own_names_stay_and_what_is_read_differently_is_told(capsys):
    assert translate(["experiment=tiny", "model/ckpt=none", "out=x"]) == ["experiment=tiny", "model/ckpt=none", "out=x"]
    assert capsys.readouterr().out == ""
    assert translate(["trainer=ddp", "machine.batch_size=8"]) == [
        "trainer.accelerator=gpu",
        "model.finetune.batch_size=8",
    ]
    assert "trainer=ddp: read as trainer.accelerator=gpu" in capsys.readouterr().out


def test_the_guide_tells_every_option():
    text = GUIDE.read_text()
    for option in (*SAME, *RENAMED, *NEAREST):
        assert f"`{option}`" in text or f"`{option}=" in text, option
