from __future__ import annotations

import fsspec
import numpy as np
import pytest

from covr.errors import UserError
from covr.storage import Place
from covr.train.vectors import Vectors

VALUES = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_vectors_come_back_under_their_clips(tmp_path, kind):
    place = Place(tmp_path if kind == "local" else "memory://vectors") / "v.arrow"
    Vectors.write(place, ["a", "b", "c"], VALUES)
    vectors = Vectors(place)
    assert np.array_equal(vectors.values[vectors.rows(["c", "a", "c"])], VALUES[[2, 0, 2]])
    assert not vectors.values.flags.writeable


def test_a_clip_without_a_vector_is_named(tmp_path):
    Vectors.write(Place(tmp_path) / "v.arrow", ["a", "b", "c"], VALUES)
    with pytest.raises(UserError, match=r"a clip has no vector \[clip d\]"):
        Vectors(Place(tmp_path) / "v.arrow").rows(["a", "d"])


def teardown_module() -> None:
    fsspec.filesystem("memory").store.clear()
