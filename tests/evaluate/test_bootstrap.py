"""Intervals: seeded, paired, and as wide as whole label pairs make them."""

from __future__ import annotations

import numpy as np

from covr.evaluate.bootstrap import ClusterBootstrap


def test_equals_resampling_by_hand():
    """The draws are means over resampled clusters, clusters of any size."""
    rng = np.random.default_rng(0)
    clusters = rng.choice(["a", "b", "c", "d"], 50)
    value_Q = rng.random(50)
    names, counts_D = np.unique(clusters), ClusterBootstrap(clusters, 200, seed=3)
    by_hand = []
    for weights in counts_D._weights_DC:
        drawn = np.concatenate([np.tile(value_Q[clusters == name], w) for name, w in zip(names, weights, strict=True)])
        by_hand.append(drawn.mean())
    np.testing.assert_allclose(counts_D.means(value_Q), by_hand)


def test_seeded():
    value_Q, clusters = np.arange(30.0), [str(i % 7) for i in range(30)]
    first = ClusterBootstrap(clusters, 500, seed=1).interval(value_Q)
    assert first == ClusterBootstrap(clusters, 500, seed=1).interval(value_Q)
    assert first != ClusterBootstrap(clusters, 500, seed=2).interval(value_Q)
    assert first[0] <= value_Q.mean() <= first[1]


def test_queries_that_rise_and_fall_together_widen_the_interval():
    rng = np.random.default_rng(0)
    value_Q = np.repeat(rng.random(40), 25)
    together = ClusterBootstrap(np.repeat(np.arange(40), 25), 1000, seed=0).interval(value_Q)
    alone = ClusterBootstrap(np.arange(1000), 1000, seed=0).interval(value_Q)
    assert together[1] - together[0] > 3 * (alone[1] - alone[0])


def test_covers_the_true_mean():
    """About 95 of 100 intervals of normal cluster means hold the mean that they were drawn from."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(60), 4)
    held = 0
    for _ in range(200):
        value_Q = np.repeat(rng.normal(size=60), 4) + rng.normal(size=240)
        low, high = ClusterBootstrap(clusters, 400, seed=1).interval(value_Q)
        held += low <= 0 <= high
    assert 178 <= held <= 199


def test_a_gap_is_paired():
    """A rival that is worse by the same amount on every query leaves no doubt about the gap."""
    rng = np.random.default_rng(0)
    value_Q, clusters = rng.random(200), np.arange(200) % 50
    gap, (low, high) = ClusterBootstrap(clusters, 300, seed=0).gap(value_Q, [value_Q - 0.2, value_Q - 0.5])
    np.testing.assert_allclose([gap, low, high], 0.2)
