"""Published checkpoints become folders of ours (safetensors, config.json, model card) and files again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from covr.checkpoints.layouts import find_layout
from covr.checkpoints.published import (
    Loaded,
    Origin,
    load_published,
    published_file,
    read_published,
    remember,
    save_published,
    write_checkpoint,
)
from covr.checkpoints.reader import read_checkpoint
from covr.errors import UserError
from covr.models import folder
from covr.models.fusion.combiner import Combiner
from covr.models.joint import JointRetriever
from covr.models.retriever import ComposedRetriever
from covr.models.video import AIM, load_video, save_video
from covr.storage import Place

RECORD, UNUSED = "published.json", "unused.safetensors"
"""Where the file came from and what became of its keys; its tensors that this model has no place for."""


def import_checkpoint(
    layout: str,
    file: str | Path | Place,
    destination: Place,
    *,
    fresh: Sequence[str] = (),
    keep_unused: bool = True,
    sizes: Mapping[str, Any] | None = None,
    video: str | Path | Place | None = None,
    video_sizes: Mapping[str, Any] | None = None,
) -> Loaded:
    """Read a published file and write it as a folder; nothing is written unless all of it could be read.

    Args:
        layout, file, fresh, sizes: as of `load_published`.
        destination: a folder that is not there yet.
        keep_unused: keep the tensors that the model has no place for, so that export gives the file back whole.
        video, video_sizes: of the layout tf-covr, the AIM file behind its video vectors and what its shapes do not
            tell: the folder then reads frames, and can be served.

    Raises:
        UserError: as `load_published`, or the destination is taken.
    """
    if destination.exists():
        raise UserError("the destination is there already", str(destination), "give a new folder")
    if video is None:
        loaded = read_published(layout, file, fresh=fresh, **(sizes or {}))
    elif layout != "tf-covr":
        raise UserError("a video encoder belongs to the layout tf-covr", f"--video {video}", "leave it out")
    else:
        encoder = load_published("aim", video, **(video_sizes or {}))
        assert isinstance(encoder, AIM)
        loaded = read_published(layout, file, fresh=fresh, **{**(sizes or {}), "video": encoder.config})
        loaded.module.video.load_state_dict(encoder.state_dict())  # type: ignore[union-attr]
    _write(loaded.module, destination)
    if keep_unused and loaded.ignored:
        unused = {name: tensor.clone().contiguous() for name, tensor in loaded.ignored.items()}
        (destination / UNUSED).write_bytes(safetensors.torch.save(unused))
    (destination / RECORD).write_json(
        {
            "origin": asdict(loaded.origin),
            "file": Place(str(file)).name,
            "sha256": (file if isinstance(file, Place) else Place(file)).sha256(),
            "ignored": list(loaded.ignored),
            "other_entries": list(loaded.file.extras),
            "inert_classes": list(loaded.file.inert),
        }
    )
    return loaded


def export_checkpoint(source: Place, file: str | Path | Place, layout: str | None = None) -> str:
    """Write a folder's model as a published file; the layout's name.

    Args:
        source: a folder that `import_checkpoint` or `save` wrote.
        file: where to write.
        layout: needed for a folder that was not imported.

    Raises:
        UserError: no such folder, or another layout's model.
    """
    module = load_folder(source)
    origin: Origin | None = getattr(module, "origin", None)
    if layout is None:
        if origin is None:
            raise UserError("this folder was not imported", str(source), "name the layout with --layout")
        layout = origin.layout
    unused = source / UNUSED
    if origin is not None and layout == origin.layout and unused.exists():
        tensors, wrapper = published_file(module, find_layout(layout))
        write_checkpoint(tensors | read_checkpoint(unused).tensors, wrapper, file)
    else:
        save_published(module, layout, file)
    return layout


def load_folder(source: Place) -> nn.Module:
    """The model of a folder, whatever its kind, with where it came from.

    Raises:
        UserError: no such folder, or a damaged one.
    """
    if not (source / folder.CONFIG).exists():
        raise UserError(f"no model here: {folder.CONFIG} is missing", str(source), "give a folder written by covr")
    kind = (source / folder.CONFIG).read_json().get("kind")
    module: nn.Module
    match kind:
        case "video encoder":
            module = load_video(source)
        case "retriever":
            module = ComposedRetriever.load(source)
        case "combiner":
            config, state = folder.read(source, "combiner")
            module = Combiner(**config["sizes"])
            folder.load_exactly(module, state, str(source))
        case _:
            raise UserError(f"a folder of unknown kind {kind!r}", str(source), "give a folder written by covr")
    if (source / RECORD).exists():
        origin = (source / RECORD).read_json()["origin"]
        remember(module, Origin(**{**origin, "fresh": tuple(origin["fresh"])}))
    return module.eval()


def _write(module: nn.Module, destination: Place) -> None:
    match module:
        case AIM():
            save_video(module, destination)
        case JointRetriever():
            module.save(destination)
        case Combiner():
            sizes = {
                "dim": module.output_layer.out_features,
                "projection_dim": module.combiner_layer.in_features // 2,
                "hidden_dim": module.output_layer.in_features,
            }
            folder.write(destination, {"kind": "combiner", "sizes": sizes}, module, _combiner_card(sizes))
        case _:
            raise TypeError(f"no folder for a {type(module).__name__}")


def _combiner_card(sizes: Mapping[str, int]) -> str:
    return f"""---
library_name: covr
tags: [composed-video-retrieval]
---
# Gated combiner

Video and text vectors of {sizes["dim"]} values to composed queries; projections of {sizes["projection_dim"]}, hidden
layers of {sizes["hidden_dim"]}.
"""
