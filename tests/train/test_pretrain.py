from __future__ import annotations

import pytest

from covr.errors import UserError
from covr.job import Job
from covr.train.pretrain import pretrain


def test_the_step_before_is_named(tmp_path):
    with pytest.raises(UserError, match=r"run jobs/ingest.py first"):
        pretrain(Job.from_overrides(["experiment=tiny", f"out={tmp_path}"]))
