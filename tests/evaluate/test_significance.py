"""The paired test against scipy's, and what it has to do whatever the values are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from covr.evaluate.significance import holm, paired

share = st.integers(0, 1024).map(lambda part: part / 1024)  # sums are exact, and so are ties
shares = st.lists(st.tuples(share, share), min_size=2, max_size=9)


@given(shares)
def test_few_queries_as_scipys_exact_test(values):
    a, b = np.array(values).T
    mine = paired(a, b, np.arange(len(a)))
    exact = stats.permutation_test(
        (a, b), lambda x, y, axis: (x - y).sum(axis), permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    assert mine.p == pytest.approx(exact.pvalue, abs=1e-9)
    assert mine.mean == pytest.approx(a.mean() - b.mean())


def test_whole_clusters_are_exchanged():
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 6, 40)
    a, b = rng.random(40), rng.random(40)
    sums = [(a - b)[clusters == name].sum() for name in range(6)]
    exchanged = [abs(np.dot(signs, sums)) for signs in itertools.product((1, -1), repeat=6)]
    assert paired(a, b, clusters).p == pytest.approx(np.mean(np.array(exchanged) >= abs(sum(sums)) - 1e-12))


def test_many_queries_as_scipys_random_test():
    rng = np.random.default_rng(1)
    a = rng.random(200)
    b = a + rng.normal(-0.02, 0.15, 200)
    mine = paired(a, b, np.arange(200))
    theirs = stats.permutation_test(
        (a, b), lambda x, y, axis: (x - y).mean(axis), permutation_type="samples", vectorized=True, n_resamples=9999
    )
    assert mine.p == pytest.approx(theirs.pvalue, abs=0.02)
    low, high = mine.interval
    bootstrap = stats.bootstrap((a - b,), np.mean, method="percentile", n_resamples=5000)
    assert (low, high) == pytest.approx(tuple(bootstrap.confidence_interval), abs=0.005)


def test_under_the_hypothesis_p_is_uniform():
    """One alarm in ten at the level of ten percent, with clusters that move together."""
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(30), 4)
    alarms = 0
    for _ in range(300):
        shared = np.repeat(rng.normal(size=30), 4)
        difference = shared + 0.3 * rng.normal(size=120)
        alarms += paired(difference, np.zeros(120), clusters, num_draws=499).p <= 0.1
    assert 15 <= alarms <= 48


def test_equal_runs_differ_by_nothing():
    same = paired(np.full(50, 0.5), np.full(50, 0.5), np.arange(50))
    assert (same.mean, same.interval, same.p) == (0.0, (0.0, 0.0), 1.0)


def test_a_sure_difference_has_the_smallest_p():
    sure = paired(np.ones(100), np.zeros(100), np.arange(100), num_draws=999)
    assert sure.p == 1 / 1000
    assert sure.interval == (1.0, 1.0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_never_below_the_single_test_and_keeps_the_order(p):
    adjusted = np.array(holm(p))
    assert (adjusted >= np.array(p)).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
    assert adjusted.max() <= 1


@pytest.mark.parametrize("scale", [1.0, 1e-14])
def test_the_size_of_the_values_decides_nothing(scale):
    a, b = scale * np.array([0.75, 0.5, 0.25, 0.5]), scale * np.array([0.5, 0.25, 0.0, 0.75])
    assert paired(a, b, np.arange(4)).p == 10 / 16
