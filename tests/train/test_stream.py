from __future__ import annotations

import sys

import numpy as np
import pytest
from ray import cloudpickle

from covr.errors import UserError
from covr.train.stream import stream

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import the tests

SHAPE = (2, 3, 40, 40)


def load(step: int) -> np.ndarray:
    return np.full(SHAPE, step, dtype=np.int32)


def refuse(step: int) -> np.ndarray:
    if step == 3:
        raise UserError("a clip cannot be decoded", f"clip {step}", "put it aside")
    return load(step)


def test_every_step_once_in_order_from_any_start(ray_cluster):
    # 100 steps of 38 KB in blocks of 8 MiB would be one task; a larger size is told, so that there are many.
    for first in (0, 61):
        batches = list(stream(load, first, 100, cpus=2, batch_bytes=4 << 20))
        assert [int(batch[0, 0, 0, 0]) for batch in batches] == list(range(first, 100))
        assert {batch.shape for batch in batches} == {SHAPE}
    assert list(stream(load, 100, 100, cpus=2, batch_bytes=1)) == []


def test_a_users_error_in_a_task_reaches_the_reader_as_such(ray_cluster):
    with pytest.raises(UserError, match=r"a clip cannot be decoded \[clip 3\]: put it aside"):
        list(stream(refuse, 0, 10, cpus=1, batch_bytes=8 << 20))
