from __future__ import annotations

import pytest

from covr.job import Job
from covr.storage import Place
from covr.table.job import make_table

OVERRIDES = (
    *("rows=all", "seeds=[0]", "data.size=tiny", "model.init=scratch", "model/text=random", "test.bootstrap=100"),
    *("++model.skip=[pretrain,finetune]", "trainer.logger.system_metrics_s=null"),
)
"""Every row of the table on the tiny data set, with random weights as they are."""


@pytest.fixture(scope="package")
def job(ray_cluster, tmp_path_factory) -> Job:
    return Job.from_overrides([*OVERRIDES, f"out={tmp_path_factory.mktemp('table')}"])


@pytest.fixture(scope="package")
def results(job) -> dict:
    return make_table(job)


@pytest.fixture(scope="package")
def root(job, results) -> Place:
    return job.root
