from __future__ import annotations

import pytest

from covr import tables
from covr.errors import UserError
from covr.train.augment import Flip
from covr.train.classes import IGNORED, Classes

FLIP = Flip(attribute="side", swap=("left", "right"))


def clips(*rows: tuple[str | None, dict[str, str]]):
    return tables.from_rows(
        "clips",
        [{"clip_id": str(n), "label": label, "attributes": list(a.items())} for n, (label, a) in enumerate(rows)],
    )


TRAIN = clips(
    ("kick left", {"element": "kick", "side": "left"}),
    ("kick right", {"element": "kick", "side": "right"}),
    ("roll left", {"element": "roll", "side": "left"}),
    ("stand", {"element": "stand"}),
)


def test_names_are_those_of_the_table_in_order():
    classes = Classes.of(TRAIN, with_attributes=True)
    assert classes.labels == ["kick left", "kick right", "roll left", "stand"]
    assert classes.attributes == {"element": ["kick", "roll", "stand"], "side": ["left", "right"]}
    assert classes.heads == ["label", "element", "side"]
    assert Classes.of(TRAIN, with_attributes=False).heads == ["label"]


def test_what_is_not_known_is_ignored():
    classes = Classes.of(TRAIN, with_attributes=True)
    assert classes.targets(TRAIN).tolist() == [[0, 0, 0], [1, 0, 1], [2, 1, 0], [3, 2, IGNORED]]
    assert classes.targets(clips(("jump", {"element": "roll"}), (None, {}))).tolist() == [
        [IGNORED, 1, IGNORED],
        [IGNORED, IGNORED, IGNORED],
    ]


def test_a_mirrored_clip_has_the_label_of_what_is_seen():
    targets, allowed = Classes.of(TRAIN, with_attributes=True).mirrored(TRAIN, FLIP)
    assert targets[:3].tolist() == [[1, 0, 1], [0, 0, 0], [IGNORED, 1, 1]]  # no label "roll right"
    assert allowed.tolist() == [True, True, True, False]


def test_mirroring_needs_no_auxiliary_heads():
    targets, _ = Classes.of(TRAIN, with_attributes=False).mirrored(TRAIN, FLIP)
    assert targets[:3].tolist() == [[1], [0], [IGNORED]]


def test_a_mirrored_label_that_is_not_unique_is_ignored():
    twice = clips(("a", {"side": "left"}), ("b", {"side": "right"}), ("c", {"side": "right"}))
    targets, _ = Classes.of(twice, with_attributes=False).mirrored(twice, FLIP)
    assert targets.tolist() == [[IGNORED], [0], [0]]


def test_one_label_is_nothing_to_learn():
    with pytest.raises(UserError, match="two labels or more"):
        Classes.of(TRAIN.slice(0, 1), with_attributes=True)
