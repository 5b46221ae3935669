"""Published checkpoints in and out: every tensor accounted for, nothing loaded by halves."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from covr.checkpoints.layouts import LAYOUTS, Layout, find_layout
from covr.checkpoints.reader import CheckpointFile, read_checkpoint
from covr.checkpoints.sizes import Shapes
from covr.errors import UserError
from covr.models.image.vit import resize_positions
from covr.storage.place import Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The published file that a module came from: what export needs to write it again as it was."""

    layout: str
    wrapper: str | None
    """Key of the state dict in the file."""
    prefix: str
    """What stands before every name of the layout."""
    dtypes: dict[str, str]
    """Names read, with the prefix, in the file's order -> element type."""
    fresh: tuple[str, ...] = ()
    """Names, with the prefix, that the file lacked and that were let start at random."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A module and the account of its file."""

    module: nn.Module
    origin: Origin
    ignored: dict[str, Tensor] = field(repr=False)
    """Tensors of the file that this module has no place for."""
    file: CheckpointFile = field(repr=False)


def load_published(layout: str, path: str | Path | Place, *, fresh: Sequence[str] = (), **sizes: Any) -> nn.Module:
    """The module that a published checkpoint holds, in evaluation mode; nothing in the file is run.

    Args:
        layout: aim, openai-clip, blip, blip2, covr, covr2, bse-covr, ecde, tf-covr or combiner.
        path: the file, as published.
        fresh: beginnings of published names that may stay random where the file lacks them.
        sizes: what the shapes do not tell: num_heads, text_num_heads, adapter_scale, enc_token_id, query.

    Raises:
        UserError: a damaged file, code in it, a tensor missing or of another shape, an unknown size.
    """
    return read_published(layout, path, fresh=fresh, **sizes).module


def read_published(layout: str, path: str | Path | Place, *, fresh: Sequence[str] = (), **sizes: Any) -> Loaded:
    """As `load_published`, with the account of the file."""
    known = find_layout(layout)
    _check_sizes(known, sizes, str(path))

    def build(shapes: Shapes) -> nn.Module:
        try:
            return known.build(shapes, **sizes)
        except (ValueError, RuntimeError) as error:  # sizes that do not fit each other, or more than any memory holds
            raise UserError(str(error), shapes.where, "give sizes that fit the file") from None

    return _read(known, path, build, fresh)


def fill_published(module: nn.Module, layout: str, path: str | Path | Place, *, fresh: Sequence[str] = ()) -> Loaded:
    """Load a published checkpoint into a module that is there already.

    Raises:
        UserError: as `load_published`; all or nothing is loaded but for the parts named in `fresh`.
    """
    return _read(find_layout(layout), path, lambda shapes: module, fresh)


def _check_sizes(known: Layout, sizes: dict[str, Any], where: str) -> None:
    types = known.sizes
    for name, value in sizes.items():
        if name not in types:
            raise UserError(f"layout {known.name} has no size {name}", where, f"known: {', '.join(types) or 'none'}")
        try:
            TypeAdapter(types[name]).validate_python(value)
        except ValidationError as error:
            raise UserError(f"{name}={value!r}", where, error.errors()[0]["msg"]) from None


def _read(
    known: Layout, path: str | Path | Place, build: Callable[[Shapes], nn.Module], fresh: Sequence[str]
) -> Loaded:
    file, where = read_checkpoint(path), str(path)
    prefix = _prefix(known, file, where)
    inside = {name.removeprefix(prefix): tensor for name, tensor in file.tensors.items() if name.startswith(prefix)}
    with torch.device("meta"):  # shapes without memory: a file that does not fit costs nothing
        plan = build(Shapes(inside, where))
    values, lacking = _values(plan, known, inside, where)
    _refuse_gaps(known, lacking, fresh, where)
    module = build(Shapes(inside, where))
    module.load_state_dict(values, strict=False)
    derived = known.derived(module)
    read = {source.published for source in known.sources(module)}
    dtypes = {
        prefix + name: str(tensor.dtype).removeprefix("torch.")
        for name, tensor in inside.items()
        if name in read or (name in derived and torch.equal(tensor, derived[name].to(tensor.dtype)))
    }
    origin = Origin(
        layout=known.name,
        wrapper=file.wrapper,
        prefix=prefix,
        dtypes=dtypes,
        fresh=tuple(prefix + name for name in lacking),
    )
    return Loaded(
        module=remember(module.eval(), origin),
        origin=origin,
        ignored={name: tensor for name, tensor in file.tensors.items() if name not in dtypes},
        file=file,
    )


def remember(module: nn.Module, origin: Origin) -> nn.Module:
    """Keep with a module where it came from, for `save_published`."""
    module.origin = origin  # type: ignore[assignment]
    return module


def _prefix(layout: Layout, file: CheckpointFile, where: str) -> str:
    found = [name for name in file.tensors if name == layout.anchor or name.endswith(f".{layout.anchor}")]
    if not found:
        raise UserError(
            f"no tensor {layout.anchor} in this file: it is not of the layout {layout.name}",
            where,
            f"it begins with {next(iter(file.tensors))}; choose one of {', '.join(LAYOUTS)}",
        )
    return min(found, key=len).removesuffix(layout.anchor)


def _values(
    module: nn.Module, layout: Layout, inside: dict[str, Tensor], where: str
) -> tuple[dict[str, Tensor], list[str]]:
    """The module's tensors as the file has them, and the published names that the file lacks."""
    state = module.state_dict()
    values: dict[str, Tensor] = {}
    lacking: list[str] = []
    for source in layout.sources(module):
        own = state[source.own]
        if source.published not in inside:
            if not source.published.endswith("num_batches_tracked"):  # a counter that no result depends on
                lacking.append(source.published)
            continue
        value = source.read(inside[source.published])
        if source.grid and value.ndim == own.ndim and value.shape[-1] == own.shape[-1]:
            value = resize_positions(value, own.shape[1])
        if value.shape != own.shape:
            raise UserError(
                f"tensor {source.published} has the shape {tuple(inside[source.published].shape)}",
                where,
                f"expected {tuple(source.write(own).shape)} from the other tensors; the file is damaged or mixed",
            )
        if own.is_floating_point() and not value.is_floating_point():
            raise UserError(f"tensor {source.published} holds {value.dtype}", where, "give a file of floating numbers")
        values[source.own] = value
    return values, list(dict.fromkeys(lacking))


def _refuse_gaps(layout: Layout, lacking: list[str], fresh: Sequence[str], where: str) -> None:
    gaps = [name for name in lacking if not name.startswith(tuple(fresh))] if fresh else lacking
    if not gaps:
        return
    message = f"{len(gaps)} tensors are missing, the first {gaps[0]}"
    fusion = [name for name in gaps if name.startswith(layout.fusion)] if layout.fusion else []
    if fusion:
        message += f"; the fusion ({fusion[0].split('.')[0]}) would stay random"
    raise UserError(message, where, "give a whole file, or name the parts that shall start at random with --fresh")


def save_published(module: nn.Module, layout: str, path: str | Path | Place) -> None:
    """Write a module's weights as a file of a published layout: a torch file, or safetensors by the path's suffix.

    A module that was loaded from such a file goes back under the same key, names and element types (where that
    loses nothing: weights trained on since keep float32).

    Raises:
        UserError: the module is not of this layout.
    """
    known = find_layout(layout)
    if type(module) is not known.module:
        raise UserError(
            f"a {type(module).__name__} is not of the layout {layout}", str(path), f"give a {known.module.__name__}"
        )
    write_checkpoint(*published_file(module, known), path)


def published_file(module: nn.Module, layout: Layout) -> tuple[dict[str, Tensor], str | None]:
    """Tensors by the names of a published file, and the key that they go under."""
    origin: Origin | None = getattr(module, "origin", None)
    tensors = published_tensors(module, layout)
    if origin is None:
        return {layout.prefix + name: tensor for name, tensor in tensors.items()}, layout.wrapper
    dtypes = origin.dtypes | dict.fromkeys(origin.fresh, "float32")
    return {
        name: _as(tensors[name.removeprefix(origin.prefix)], dtype) for name, dtype in dtypes.items()
    }, origin.wrapper


def write_checkpoint(tensors: dict[str, Tensor], wrapper: str | None, path: str | Path | Place) -> None:
    """Write a torch file of tensors and plain containers, or safetensors by its suffix; whole or not at all."""
    place = path if isinstance(path, Place) else Place(path)
    if place.name.endswith(".safetensors"):  # no key to go under; repeated tensors are written out
        place.write_bytes(safetensors.torch.save({name: tensor.clone() for name, tensor in tensors.items()}))
        return
    buffer = io.BytesIO()
    torch.save({wrapper: tensors} if wrapper else tensors, buffer)
    place.write_bytes(buffer.getvalue())


def published_tensors(module: nn.Module, layout: Layout) -> dict[str, Tensor]:
    """Published name, without prefix -> tensor, the repeated and constant ones included."""
    state = module.state_dict()
    parts: dict[str, dict[int, Tensor]] = {}
    tensors: dict[str, Tensor] = {}
    for source in layout.sources(module):
        value = source.write(state[source.own]).detach().cpu()
        if source.part is None:
            tensors[source.published] = value.contiguous()
        else:
            parts.setdefault(source.published, {})[source.part] = value
    for name, thirds in parts.items():
        tensors[name] = torch.cat([thirds[0], thirds[1], thirds[2]])
    return tensors | {name: tensor.detach().cpu() for name, tensor in layout.derived(module).items()}


def _as(tensor: Tensor, dtype: str) -> Tensor:
    """In the file's element type, where the values survive it."""
    converted = tensor.to(getattr(torch, dtype))
    return converted if torch.equal(converted.to(tensor.dtype), tensor) else tensor
