"""Splits without leakage: what belongs together goes into one split, and every label into all of them where it can."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from covr.datasets.dataset import SPLITS


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Things that must not be parted."""

    labels: Counter[str]
    """How many of each label are in it."""
    given: str | None = None
    """The split that a user asked for."""


class Together:
    """Sets that grow together: joined with one of its members, a set holds them all."""

    def __init__(self) -> None:
        self._parent: dict[Hashable, Hashable] = {}

    def find(self, item: Hashable) -> Hashable:
        """What stands for the set of `item`."""
        root = self._parent.setdefault(item, item)
        while root != self._parent[root]:
            root = self._parent[root]
        while item != root:
            self._parent[item], item = root, self._parent[item]
        return root

    def join(self, items: Iterable[Hashable]) -> None:
        """Make one set of the items' sets."""
        first, *others = items
        for other in others:
            self._parent[self.find(other)] = self.find(first)


def assign(groups: Sequence[Group], shares: Sequence[float], seed: int) -> list[str]:
    """A split for each group: the one given, or the one in which its labels are short by most.

    Of a label in three groups or more each split gets one at least. Where users gave splits, but not all three, the
    absent ones are taken from train.

    Args:
        shares: of the groups of each label, for train, val and test.
    """
    given = {group.given for group in groups} - {None}
    absent = [split for split in SPLITS if split not in given] if given else []
    free = [_allowed(group.given, absent) for group in groups]
    counts: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for group, allowed in zip(groups, free, strict=True):
        for label in group.labels:
            counts[label][allowed] += 1
    short: dict[tuple[str, tuple[str, ...]], Counter[str]] = {
        (label, allowed): _quota(num, allowed, shares)
        for label, kinds in counts.items()
        for allowed, num in kinds.items()
    }
    # Groups of several labels first: those of one label then make up for what they unbalance.
    late = [(-len(g.labels), min(sum(counts[label].values()) for label in g.labels)) for g in groups]
    found = [""] * len(groups)
    for i in sorted(np.random.default_rng(seed).permutation(len(groups)).tolist(), key=lambda i: late[i]):
        lacks = [short[label, free[i]] for label in groups[i].labels]
        found[i] = max(free[i], key=lambda split: sum(lack[split] for lack in lacks))
        for lack in lacks:
            lack[found[i]] -= 1
    return found


def _allowed(given: str | None, absent: Sequence[str]) -> tuple[str, ...]:
    if given is None:
        return SPLITS
    return tuple(split for split in SPLITS if split == given or (given == "train" and split in absent))


def _quota(num: int, allowed: Sequence[str], shares: Sequence[float]) -> Counter[str]:
    """How many of `num` groups each split gets: by shares, one at least where there are enough, train first."""
    weights = np.array([shares[SPLITS.index(split)] for split in allowed])
    exact = num * weights / weights.sum()
    quota = np.floor(exact).astype(int)
    for i in np.argsort(-(exact - quota), kind="stable")[: num - quota.sum()]:
        quota[i] += 1
    if num >= len(allowed):
        while (quota == 0).any():
            quota[quota.argmax()] -= 1
            quota[np.flatnonzero(quota == 0)[0]] += 1
    elif num == 2:
        quota = np.array([split != "val" for split in allowed], int)
    return Counter(dict(zip(allowed, quota.tolist(), strict=True)))
