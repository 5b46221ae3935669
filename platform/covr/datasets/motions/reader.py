"""The bundled data set `motions`: which clips and triplets a size has, and the rule that it must measure composition."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from covr import tables
from covr.datasets.dataset import SPLITS, Dataset
from covr.datasets.motions.clip import FPS, GENERATOR, SIZE, Clip, draw
from covr.datasets.motions.grammar import COUNTS, ELEMENTS, EVENTS, SIDES, Label, grid
from covr.datasets.motions.mocap import DATA
from covr.datasets.motions.rendering import render
from covr.errors import UserError
from covr.report.console import say
from covr.storage import Place
from covr.storage.place import fingerprint
from covr.triplets.build import galleries, triplets
from covr.triplets.ceilings import modality_ceilings
from covr.triplets.modifications import COMMON, UNSEEN, modifications
from covr.triplets.pairs import LabelPair, hold_out, label_pairs

HELD_OUT = 0.2
"""Share of the label pairs that only the test split has."""
WORDINGS = 4
"""Of each triplet's modification."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How large a data set is."""

    events: tuple[str, ...] = EVENTS
    elements: tuple[str, ...] = ELEMENTS
    counts: tuple[int, ...] = COUNTS
    sides: tuple[str, ...] = SIDES
    clips: Mapping[str, int]
    """Clips of each label, by split. At most 10 in test: AP@10 over R and over min(R, 10) are then the same."""
    two_attribute_pairs: int
    """About how many label pairs differ in two attributes, beside all that differ in one."""
    per_pair: Mapping[str, int]
    """Triplets of each label pair, by split."""
    ceiling: float | None = 0.2
    """Highest mAP@10 that text alone or query clip alone may reach; None: not asked."""
    labels: list[Label] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", grid(self.events, self.elements, self.counts, self.sides))


SIZES = {
    # Sixteen labels with three right answers cannot meet the ceiling, whatever is asked; this size only serves tests
    # of the machinery, so it is let off.
    "tiny": Size(
        events=("floor", "beam"),
        elements=("back flip", "cartwheel"),
        counts=(1, 2),
        clips={"train": 3, "val": 2, "test": 3},
        two_attribute_pairs=24,
        per_pair={"train": 3, "val": 1, "test": 1},
        ceiling=None,
    ),
    "small": Size(
        clips={"train": 24, "val": 4, "test": 10},
        two_attribute_pairs=270,
        per_pair={"train": 10, "val": 1, "test": 3},
    ),
    "full": Size(
        clips={"train": 60, "val": 10, "test": 10},
        two_attribute_pairs=540,
        per_pair={"train": 25, "val": 2, "test": 3},
    ),
}


@dataclass(frozen=True, kw_only=True)
class Motions:
    """Real motion capture rendered to clips, labelled event x element x count x side. Another seed, other clips."""

    name: str = "motions"
    size: str = "small"
    """tiny | small | full"""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise UserError(f"no such size {self.size!r}", "data.size", f"choose one of: {', '.join(SIZES)}")

    def fingerprint(self) -> str:
        """A hash of the generator's version and of the recordings."""
        files = sorted(DATA.iterdir(), key=lambda file: file.name)
        return fingerprint(GENERATOR, [hashlib.sha256(file.read_bytes()).hexdigest() for file in files])

    def read(self, root: Place) -> Dataset:
        """Draw and render every clip (Ray tasks; files below `root`/media) and build triplets and galleries.

        Raises:
            UserError: one half of the queries is enough to find the answers (see `Size.ceiling`).
        """
        size = SIZES[self.size]
        clips = {
            split: [draw(label, split, i, self.seed) for label in size.labels for i in range(size.clips[split])]
            for split in SPLITS
        }
        asked = _ask(size, clips, np.random.default_rng(self.seed))
        self._refuse(size, asked["ceilings"])
        rows = [row for split in SPLITS for row in _clip_rows(split, clips[split], root)]
        captions = [_text(row["clip_id"], "caption", row["label"]) for row in rows]
        return Dataset(
            clips=tables.from_rows("clips", rows),
            texts=tables.from_rows("texts", captions + asked["texts"]),
            triplets=tables.from_rows("triplets", asked["triplets"]),
            galleries=tables.from_rows("galleries", asked["galleries"]),
            quarantine=tables.from_rows("quarantine", []),
            facts={f"ceiling/{half}": round(value, 4) for half, value in asked["ceilings"].items()},
        )

    def _refuse(self, size: Size, ceilings: dict[str, float]) -> None:
        told = ", ".join(f"{half} only {value:.3f}" for half, value in ceilings.items())
        exempt = " (this size serves tests; no ceiling is asked of it)" if size.ceiling is None else ""
        say(f"{self.name}: test mAP@10 of oracles that know every label: {told}{exempt}")
        if size.ceiling is not None and max(ceilings.values()) > size.ceiling:
            raise UserError(
                f"one half of a query finds the answer too well: {told}, allowed {size.ceiling}",
                f"data.name={self.name} data.size={self.size} data.seed={self.seed}",
                "take another seed or a larger grid of labels",
            )


def _ask(size: Size, clips: Mapping[str, list[Clip]], rng: np.random.Generator) -> dict[str, Any]:
    """Triplets, galleries and test-only wordings of every split, and the ceilings of the test split."""
    attributes = {str(label): label.attributes() for label in size.labels}
    pairs = label_pairs(attributes, size.two_attribute_pairs, rng)
    held_out = hold_out(pairs, HELD_OUT, rng)
    seen = [pair for pair in pairs if pair.name not in held_out]

    def write(pair: LabelPair) -> list[str]:
        return modifications(COMMON, pair, attributes, WORDINGS, rng)

    asked: dict[str, Any] = {"triplets": [], "galleries": [], "texts": []}
    for split in SPLITS:
        ids: dict[str, list[str]] = {}
        for clip in clips[split]:
            ids.setdefault(str(clip.label), []).append(clip.clip_id)
        rows = triplets(
            ids,
            pairs if split == "test" else seen,
            split=split,
            per_pair=size.per_pair[split],
            write=write,
            held_out=held_out,
            rng=rng,
        )
        asked["triplets"] += rows
        asked["galleries"] += galleries(ids, rows, split)
    by_name = {pair.name: pair for pair in pairs}
    for row in rows:
        (text,) = modifications(UNSEEN, by_name[row["tags"]["pair"]], attributes, 1, rng)
        asked["texts"].append(_text(row["query_id"], "rewritten", text))
    labels = {clip.clip_id: str(clip.label) for clip in clips["test"]}
    asked["ceilings"] = modality_ceilings(
        rows, labels, {name: pair.statement(attributes) for name, pair in by_name.items()}
    )
    return asked


def _clip_rows(split: str, clips: list[Clip], root: Place) -> list[dict]:
    hashes = render(clips, root / "media" / split)
    return [
        {
            "clip_id": clip.clip_id,
            "uri": f"media/{split}/{clip.clip_id}.mp4",
            "kind": "video",
            "label": str(clip.label),
            "attributes": clip.label.attributes(),
            "split": split,
            "source_video": clip.clip_id,
            "sha256": sha256,
            "num_frames": clip.num_frames,
            "fps": float(FPS),
            "width": SIZE,
            "height": SIZE,
        }
        for clip, sha256 in zip(clips, hashes, strict=True)
    ]


def _text(owner_id: str, kind: str, text: str) -> dict:
    return {"owner_id": owner_id, "kind": kind, "text": text, "writer": "motions"}
