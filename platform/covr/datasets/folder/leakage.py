"""Which clips must not be parted, and so the split of each: one source video, near-duplicates, clips of one triplet."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from covr.datasets.folder.near import near_pairs
from covr.datasets.folder.splits import Group, Together, assign
from covr.datasets.folder.triplets_file import Asked
from covr.errors import UserError
from covr.report.console import say

Clip = Mapping[str, Any]


def split_clips(
    clips: Sequence[Clip],
    hashes: Sequence[np.ndarray],
    asked: Sequence[Asked],
    shares: Sequence[float],
    near_duplicates: float,
    seed: int,
) -> dict[str, str]:
    """clip_id -> split. Splits that users gave stay, and what they part that belongs together is told.

    Args:
        clips: with clip_id, label, source_video and asked_split (None: not given).
        hashes: of the clips' frames, see `near.bits`.
        asked: the user's own triplets, whose splits are their clips' too.
        near_duplicates: share of bits in which near-duplicates may differ.

    Raises:
        UserError: a clip is asked for in two splits.
    """
    given = _given(clips, asked)
    groups = _groups(clips, hashes, asked, near_duplicates)
    found = assign([_group(members, given) for members in groups], shares, seed)
    splits: dict[str, str] = {}
    for members, split in zip(groups, found, strict=True):
        parted = len({given[clip["clip_id"]] for clip in members} - {None}) > 1
        for clip in members:
            splits[clip["clip_id"]] = (parted and given[clip["clip_id"]]) or split
    _tell_leaks(groups, splits)
    return splits


def _given(clips: Sequence[Clip], asked: Sequence[Asked]) -> dict[str, str | None]:
    given: dict[str, str | None] = {clip["clip_id"]: clip["asked_split"] for clip in clips}
    for each in asked:
        for name in (each.query, *each.targets):
            if each.split is not None and given[name] not in (None, each.split):
                raise UserError(
                    f"clip {name!r} is asked for in the splits {given[name]} and {each.split}",
                    each.where,
                    "give a clip and all its triplets one split",
                )
            given[name] = each.split or given[name]
    return given


def _groups(
    clips: Sequence[Clip], hashes: Sequence[np.ndarray], asked: Sequence[Asked], near_duplicates: float
) -> list[list[Clip]]:
    together = Together()
    sources = [clip["source_video"] for clip in clips]
    alike: set[int] = set()
    for i, j in near_pairs(np.stack(hashes), near_duplicates):
        if sources[i] != sources[j]:
            together.join([sources[i], sources[j]])
            alike |= {i, j}
    if alike:
        say(f"  {len(alike)} clips look like a clip of another file: such clips stay in one split")
    source_of = {clip["clip_id"]: source for clip, source in zip(clips, sources, strict=True)}
    for each in asked:
        together.join([source_of[name] for name in (each.query, *each.targets)])
    members: dict[Any, list[Clip]] = defaultdict(list)
    for clip, source in zip(clips, sources, strict=True):
        members[together.find(source)].append(clip)
    return list(members.values())


def _group(members: Sequence[Clip], given: Mapping[str, str | None]) -> Group:
    splits = [split for clip in members if (split := given[clip["clip_id"]])]
    return Group(labels=Counter(clip["label"] or "" for clip in members), given=splits[0] if splits else None)


def _tell_leaks(groups: Sequence[Collection[Clip]], splits: Mapping[str, str]) -> None:
    parted = [members for members in groups if len({splits[clip["clip_id"]] for clip in members}) > 1]
    if parted:
        of_split = {splits[clip["clip_id"]]: clip["clip_id"] for clip in parted[0]}
        first = " and ".join(f"{clip_id} ({split})" for split, clip_id in list(of_split.items())[:2])
        what = (
            "1 source video or look-alike is" if len(parted) == 1 else f"{len(parted)} source videos or look-alikes are"
        )
        say(f"  [yellow]leakage: {what} in several splits as given, e.g. {first}[/yellow]")
