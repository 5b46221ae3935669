"""Any row against any: every pair once, what `paired` says of it, p adjusted for all."""

from __future__ import annotations

import numpy as np
import pytest

from covr.evaluate.against import NUM_DRAWS, any_against_any
from covr.evaluate.metrics import PRIMARY
from covr.evaluate.results import Scores
from covr.evaluate.significance import holm, paired


def test_every_pair_once_with_p_adjusted_for_their_number():
    rng = np.random.default_rng(0)
    of_cluster = np.repeat(np.arange(30).astype(str), 4)
    values = {name: np.clip(rng.normal(mean, 0.2, 120), 0, 1) for name, mean in (("a", 0.6), ("b", 0.5), ("c", 0.5))}
    pairs = any_against_any({name: Scores(values={PRIMARY: value_Q}) for name, value_Q in values.items()}, of_cluster)
    assert [(pair["row"], pair["over"]) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    tests = [paired(values[pair["row"]], values[pair["over"]], of_cluster, NUM_DRAWS) for pair in pairs]
    for pair, test, p in zip(pairs, tests, holm([test.p for test in tests]), strict=True):
        assert pair["difference"] == pytest.approx(100 * test.mean, abs=1e-5)
        assert pair["interval"] == pytest.approx([100 * bound for bound in test.interval], abs=1e-5)
        assert pair["p"] == p
    assert pairs[0]["p"] < 0.05 < pairs[2]["p"]
