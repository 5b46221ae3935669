"""What turns clips into features, out of a model's folder: its encoders, whatever else it has."""

from __future__ import annotations

from covr.models import folder
from covr.models.retriever import ComposedRetriever
from covr.models.sides import Encoder, Side
from covr.models.video import load_video
from covr.storage import Place


def load_sides(model: Place) -> dict[Side, Encoder]:
    """What turns clips into the features of each side, for the model in a folder; no query side where it reads none.

    Args:
        model: a video encoder's folder, or a retriever's.

    Raises:
        UserError: no such folder, or a damaged one.
    """
    if (model / folder.CONFIG).exists() and (model / folder.CONFIG).read_json().get("kind") == "retriever":
        retriever = ComposedRetriever.load(model)
        sides: dict[Side, Encoder | None] = {"target": retriever.target_encoder, "query": retriever.query_encoder}
        return {side: encoder for side, encoder in sides.items() if encoder is not None}
    video = load_video(model)
    return {"target": video, "query": video}


def load_encoders(model: Place) -> list[Encoder]:
    """The distinct encoders of `load_sides`: one, or one a side where they differ."""
    return list({encoder.fingerprint(): encoder for encoder in load_sides(model).values()}.values())
