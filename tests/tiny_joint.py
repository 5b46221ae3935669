"""Joint models small enough for any test, by the names of their configurations, and a root to train them on."""

from __future__ import annotations

import tiny_world

from covr import tables
from covr.storage import Place, TableStore


def node(path: str, target: str, **sizes: object) -> str:
    """A Hydra override that puts a component with these sizes at `model.joint.<path>`."""
    values = ",".join(f"{name}:{value}" for name, value in {"_target_": target, **sizes}.items())
    return f"++model.joint.{path}={{{values}}}"


_BLIP = [
    node(
        "image",
        "covr.models.image.vit.ImageConfig",
        image_size=28,
        patch_size=14,
        dim=24,
        depth=1,
        num_heads=2,
        ffn_dim=32,
    ),
    node(
        "text",
        "covr.models.text.med.MEDConfig",
        dim=16,
        depth=1,
        num_heads=2,
        ffn_dim=24,
        image_dim=24,
    ),
    "++model.joint.projection_dim=8",
]
_QFORMER = {"dim": 16, "depth": 2, "num_heads": 2, "ffn_dim": 24, "num_queries": 3, "image_dim": 24}
_BLIP2 = [
    _BLIP[0],
    node("qformer", "covr.models.text.qformer.QFormerConfig", **_QFORMER),
    "++model.joint.projection_dim=8",
    "++model.joint.combiner=[12,16]",
]
_CLIP_TEXT = node("text", "covr.models.text.clip.ClipTextConfig", dim=16, depth=1, num_heads=2, projection_dim=12)
_CLIP = [
    node(
        "image",
        "covr.models.image.clip.ClipResNetConfig",
        image_size=64,
        layers="[1,1,1,1]",
        width=4,
        projection_dim=12,
    ),
    _CLIP_TEXT,
    "++model.joint.combiner=[12,16]",
]
_AIM = node(
    "video",
    "covr.models.video.AIMConfig",
    image_size=32,
    num_frames=4,
    dim=16,
    depth=1,
    num_heads=2,
)
_STAGE2 = [_AIM, "++model.joint.dim=16", "++model.joint.combiner=[12,16]"]

SIZES: dict[str, list[str]] = {
    **dict.fromkeys(
        ("blip-covr", "blip-covr-text", "blip-covr-visual", "blip-covr-late-fusion", "bse-covr", "ecde"), _BLIP
    ),
    **dict.fromkeys(("covr-2", "blip2-text", "blip2-video", "blip2-mlp"), _BLIP2),
    **dict.fromkeys(("clip-average", "clip-mlp"), _CLIP),
    "tf-covr-published": [*_STAGE2, node("text", "covr.models.text.qformer.QFormerConfig", **_QFORMER)],
    "tf-covr-published-clip": [*_STAGE2, _CLIP_TEXT],
}


def overrides(name: str) -> list[str]:
    """What makes the configuration `name` tiny and random."""
    return [f"model={name}", "model.init=scratch", *SIZES[name]]


def build_root(root: Place) -> None:
    """`tiny_world` with train and val queries, frame scores of the targets, and texts about every clip."""
    tiny_world.build(root)
    triplets = TableStore(root / "tables/triplets", "triplets")
    rows = triplets.read().to_pylist()
    for split in ("train", "val"):
        rows += [
            {**row, "query_id": f"{split}-{row['query_id']}", "split": split, "target_weights": [0.1, 0.4, 0.2] * 2}
            for row in rows[:12]
        ]
    triplets.publish(tables.from_rows("triplets", rows), "3" * 32)
    clips = TableStore(root / "tables/clips", "clips").read(["clip_id", "label"]).to_pylist()
    texts = [
        {"owner_id": clip["clip_id"], "kind": kind, "text": f"someone does {clip['label']}", "writer": "test"}
        for clip in clips
        for kind in ("description", "caption")
    ]
    TableStore(root / "tables/texts", "texts").publish(tables.from_rows("texts", texts), "4" * 32)
