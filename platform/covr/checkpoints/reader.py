"""The tensors of a published checkpoint file, read without running anything in it.

Five kinds of file are told apart by their first bytes and contents: torch's zip archive (since 1.6), torch's older
stream of pickles, a TorchScript archive (OpenAI's CLIP), safetensors, and a torch file that pickles a whole module.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import safetensors
import safetensors.torch
import torch

from covr.checkpoints.pickles import Inert, load, reason, storage_from_bytes
from covr.errors import UserError
from covr.storage.place import Place

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of the older format (torch/serialization.py)
WRAPPERS = ("model", "state_dict", "model_state_dict")
"""Keys under which published files keep their weights."""
MOST_PARTS = 50_000
"""Most modules and tensors that one file may hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointFile:
    """What a checkpoint file holds.

    Attributes:
        tensors: published name -> tensor, in the file's order and element types.
        wrapper: the key the tensors were under (`model`, `state_dict`), or None.
        extras: the other entries of the file (epoch, optimizer, scheduler, meta): names only.
        inert: dotted names of classes that were not imported.
        format: `zip`, `legacy`, `torchscript` or `safetensors`.
    """

    tensors: dict[str, torch.Tensor]
    wrapper: str | None
    extras: tuple[str, ...]
    inert: tuple[str, ...]
    format: str


def read_checkpoint(path: str | Path | Place) -> CheckpointFile:
    """Read a checkpoint file of any published kind.

    Raises:
        UserError: no such file, damaged, without weights, or carrying code.
    """
    place = path if isinstance(path, Place) else Place(path)
    name = str(place)
    if not place.exists() or place.is_dir():
        raise UserError("no such checkpoint file", name, "give the path of the published file")
    with place.open() as file:
        head = file.read(16)
        file.seek(0)
        if head[:4] == b"PK\x03\x04":
            return _checkpoint(*_zip_content(file, name), name)
        if len(head) >= 9 and head[8:9] == b"{":
            return _checkpoint(_safetensors(file, name), (), "safetensors", name)
        if head[:1] != b"\x80":  # where torch's older stream begins: a pickle of protocol 2
            raise UserError(
                "neither a torch checkpoint nor safetensors",
                name,
                "give the published file, not a page about it",
            )
        return _checkpoint(*legacy_content(file, name), "legacy", name)


def read_saved(place: Place) -> Any:
    """What `torch.save` wrote: tensors and plain containers; anything else in it stays inert.

    Raises:
        UserError: no such file, damaged, or carrying code.
    """
    name = str(place)
    if not place.exists() or place.is_dir():
        raise UserError("no such file", name, "give the path of the published file")
    with place.open() as file:
        is_zip = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        return (_zip_content(file, name) if is_zip else legacy_content(file, name))[0]


def _zip_content(file: IO[bytes], name: str) -> tuple[Any, tuple[str, ...], str]:
    """The pickled object, the classes that were not imported, and the kind of file."""
    try:
        with zipfile.ZipFile(file) as archive:
            return _unpacked(archive, name)
    except UserError:
        raise
    except Exception as error:  # arbitrary bytes may fail in any way that zipfile can
        raise UserError(f"a truncated or damaged archive ({reason(error)})", name, "fetch the file again") from None


def _unpacked(archive: zipfile.ZipFile, name: str) -> tuple[Any, tuple[str, ...], str]:
    entries = {info.filename: info for info in archive.infolist()}
    root = next((entry[: -len("data.pkl")] for entry in entries if entry.endswith("/data.pkl")), None)
    if root is None:
        raise UserError("a zip archive without data.pkl", name, "this is not a torch checkpoint")

    def read(entry: str) -> bytes:
        if entries[entry].compress_type != zipfile.ZIP_STORED:  # torch never compresses; a bomb would
            raise UserError(
                f"{entry} is compressed", name, "torch does not write such files; get it from its publisher"
            )
        return archive.read(entry)

    if f"{root}byteorder" in entries and read(f"{root}byteorder") != b"little":
        raise UserError("a checkpoint written on a big-endian machine", name, "save it again on a common machine")
    cache: dict[str, torch.Tensor] = {}

    def storage(dtype: torch.dtype, key: str, numel: int) -> torch.Tensor:
        if key not in cache:
            entry = f"{root}data/{key}"
            if entry not in entries:
                raise pickle.UnpicklingError(f"storage {key} is missing from the archive")
            cache[key] = storage_from_bytes(read(entry), dtype, numel, key)
        return cache[key]

    content, strangers = load(io.BytesIO(read(f"{root}data.pkl")), storage, name)
    kind = "torchscript" if any(entry.startswith(f"{root}code/") for entry in entries) else "zip"
    return content, tuple(strangers), kind


def legacy_content(file: IO[bytes], name: str) -> tuple[Any, tuple[str, ...]]:
    """The object in torch's older stream of pickles, and the classes that were not imported.

    Raises:
        UserError: not such a stream, damaged, or carrying code.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    storages: dict[str, torch.Tensor] = {}

    def storage(dtype: torch.dtype, key: str, numel: int) -> torch.Tensor:
        if key not in storages:
            if numel * dtype.itemsize > size:
                raise pickle.UnpicklingError(f"storage {key} is larger than the file")
            storages[key] = torch.empty(numel, dtype=dtype)
        return storages[key]

    magic, _ = load(file, storage, name)
    if magic != LEGACY_MAGIC:
        raise UserError("neither a torch checkpoint nor safetensors", name, "give the published file as it was fetched")
    load(file, storage, name)  # protocol version
    load(file, storage, name)  # sizes of C types where it was written
    content, strangers = load(file, storage, name)
    keys, _ = load(file, storage, name)
    if not isinstance(keys, list):
        raise UserError("no list of storages behind the weights", name, "the file is damaged; fetch it again")
    for key in map(str, keys):
        target = storages.get(key)
        count = file.read(8)
        if target is None or len(count) != 8 or struct.unpack("<q", count)[0] != target.numel():
            raise UserError(f"storage {key} is missing or cut short", name, "the file is damaged; fetch it again")
        data = file.read(target.numel() * target.element_size())
        if len(data) != target.numel() * target.element_size():
            raise UserError(f"storage {key} is cut short", name, "the file is truncated; fetch it again")
        if data:
            target.copy_(torch.frombuffer(bytearray(data), dtype=target.dtype))
    return content, tuple(strangers)


def _safetensors(file: IO[bytes], name: str) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load(file.read())
    except (safetensors.SafetensorError, KeyError) as error:  # KeyError: an element type that torch has not
        raise UserError(f"not a readable safetensors file ({reason(error)})", name, "fetch the file again") from None


def _checkpoint(content: Any, inert: tuple[str, ...], kind: str, name: str) -> CheckpointFile:
    wrapper: str | None = None
    extras: tuple[str, ...] = ()
    if isinstance(content, Mapping):
        wrapper = next((key for key in WRAPPERS if isinstance(content.get(key), (Mapping, Inert))), None)
        if wrapper is not None:
            extras = tuple(str(key) for key in content if key != wrapper)
            content = content[wrapper]
    tensors = dict(_named_tensors(content, name))
    if not tensors:
        raise UserError("no weights in this file", name, "give a file with a state dict (keys model or state_dict)")
    for key, tensor in tensors.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise UserError(f"tensor {key} claims more elements than the file holds", name, "fetch the file again")
    return CheckpointFile(tensors=tensors, wrapper=wrapper, extras=extras, inert=inert, format=kind)


def _named_tensors(content: Any, file: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors of a state dict, or of a pickled or scripted module walked attribute by attribute."""
    waiting = [("", content)]
    for _ in range(MOST_PARTS):
        if not waiting:
            return
        prefix, node = waiting.pop()
        below: list[tuple[str, Any]] = []
        if isinstance(node, torch.Tensor):
            yield prefix[:-1], node
        elif isinstance(node, Inert) and isinstance(node.state, Mapping):
            for key, value in node.state.items():
                # torch keeps a pickled module's tensors and children in these three; a scripted one has them directly
                inside = prefix if key in ("_parameters", "_buffers", "_modules") else f"{prefix}{key}."
                below.append((inside, value))
        elif isinstance(node, Mapping):
            below = [
                (f"{prefix}{key}.", value) for key, value in node.items() if isinstance(value, torch.Tensor | Inert)
            ]
        waiting.extend(reversed(below))
    raise UserError("objects in this file hold each other without end", file, "get it from its publisher")
