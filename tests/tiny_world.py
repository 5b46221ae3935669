"""A storage root with a few real clips, triplets and galleries: what ingest leaves, small enough for any test."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from covr import tables
from covr.report.preview import encode
from covr.storage import Place, TableStore

LABELS = tuple(
    f"({event}) {count} {element}" for event in ("Floor", "Beam") for count in (1, 2) for element in ("roll", "jump")
)
CLIPS_PER_LABEL = 3
GALLERY = "tiny-test"


def build(root: Place) -> None:
    """Write media/ and the published tables clips, triplets and galleries."""
    rng = np.random.default_rng(0)
    clips, of_label = [], {}
    for label in LABELS:
        for number in range(CLIPS_PER_LABEL):
            clip_id = f"c{LABELS.index(label)}-{number}"
            frames = rng.integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
            place = root / "media" / "test" / f"{clip_id}.mp4"
            place.write_bytes(encode(frames, Fraction(10)))
            of_label.setdefault(label, []).append(clip_id)
            clips.append(
                {
                    "clip_id": clip_id,
                    "uri": f"media/test/{clip_id}.mp4",
                    "kind": "video",
                    "label": label,
                    "split": "test",
                    "sha256": place.sha256(),
                    "num_frames": 6,
                    "fps": 10.0,
                    "width": 32,
                    "height": 32,
                }
            )
    pairs = [(a, b) for a in LABELS for b in LABELS if a != b]
    triplets = [
        {
            "query_id": f"q{i:03d}",
            "query_clip": of_label[source][i % CLIPS_PER_LABEL],
            "modifications": [f"show {target}", f"{target}, please"],
            "target_clips": of_label[target],
            "target_label": target,
            "tags": {
                "pair": f"{source} > {target}",
                "edit": "event" if source[:5] != target[:5] else "other",
                "seen": "yes" if i % 4 else "no",
            },
            "galleries": {"corrected": GALLERY, "published": f"{GALLERY}-targets"},
            "split": "test",
        }
        for i, (source, target) in enumerate(pairs)
    ]
    gallery = [{"gallery_id": GALLERY, "clip_id": clip["clip_id"]} for clip in clips]
    gallery += [{"gallery_id": f"{GALLERY}-targets", "clip_id": row["target_clips"][0]} for row in triplets]
    for name, rows in (("clips", clips), ("triplets", triplets), ("galleries", gallery)):
        TableStore(root / "tables" / name, name).publish(tables.from_rows(name, rows), f"{name:0<32}")
