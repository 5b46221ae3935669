from __future__ import annotations

import pytest

from covr.errors import UserError
from covr.job import Job
from covr.train.finetune import finetune


def job(out, *options: str) -> Job:
    return Job.from_overrides(["experiment=tiny", f"out={out}", *options])


def test_an_unknown_row_is_named_with_the_known_ones(tmp_path):
    with pytest.raises(UserError, match=r"no row 'audio-only' \[rows\]: choose from composed, text-only"):
        finetune(job(tmp_path, "rows=[composed,audio-only]"))


def test_the_step_before_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no stage-1 encoder .*run jobs/pretrain.py first"):
        finetune(job(tmp_path))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model/loss_terms=si_ti+si_tm", r"are needed \[model.loss_terms.multimodal\]"),
        ("model.loss_terms.si_ti=0", r"stage 2 needs the clips as targets \[model.loss_terms.si_ti\]"),
    ],
)
def test_a_target_that_stage_2_does_not_have_is_named(tmp_path, option, message):
    with pytest.raises(UserError, match=message):
        finetune(job(tmp_path, option))
