"""Vectors that others computed, read from the kinds of file in which they are published; nothing in a file is run.

| file | holds |
|---|---|
| a folder of `.pth` | one tensor a clip, named by its path without the suffix (CoVR, BSE-CoVR, TF-CoVR) |
| a folder of `.npy` | one array a clip (FineCVR: 8 frames x 640) |
| `.pkl` | one or several pickled dicts of clip -> tensor, one after the other (TF-CoVR) |
| `.csv` | the columns `clip_name` and `clip_embeddings`, a list of numbers in a string (EgoCVR) |
| `.pt`, `.pth` | `{"texts": [...], "feats": (n, D)}` (CoVR's tables of texts) |
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import IO, Any

import numpy as np
import torch

from covr.checkpoints.arrays import read_npy
from covr.checkpoints.pickles import InertUnpickler, reason
from covr.checkpoints.reader import legacy_content, read_saved
from covr.datasets.annotations import read_csv
from covr.errors import UserError
from covr.storage import Place

KINDS = (".pth", ".npy")
"""Suffixes of the files in a folder with one file a clip."""
FIX = "fetch the file again"


def vectors(place: Place, wanted: Collection[str]) -> Iterator[tuple[str, np.ndarray]]:
    """The vectors of the clips (or texts) in `wanted` that `place` holds, float32, in the shape that they have there.

    Raises:
        UserError: a kind of file that is not known, a damaged file, one that carries code, or another content.
    """
    if place.is_dir():
        yield from _folder(place, wanted)
        return
    readers: dict[str, Callable[[Place], Iterator[tuple[str, Any]]]] = {
        ".pkl": _pickles,
        ".csv": _csv,
        ".pt": _texts,
        ".pth": _texts,
    }
    suffix = os.path.splitext(place.name)[1]
    if not place.exists() or suffix not in readers:
        known = ", ".join(readers)
        problem = "no such file of vectors" if suffix in readers else f"vectors in a {suffix or 'nameless'} file"
        raise UserError(problem, str(place), f"give a folder of {' or '.join(KINDS)} files, or a file of {known}")
    for name, value in readers[suffix](place):
        if name in wanted:
            yield name, _array(value, f"{place}, {name}")


def _folder(place: Place, wanted: Collection[str]) -> Iterator[tuple[str, np.ndarray]]:
    by_path, by_stem = {}, {}
    for path in sorted(place.fs.find(place.path)):
        stem, suffix = os.path.splitext(path[len(place.path) + 1 :])
        if suffix in KINDS:
            by_path[stem] = by_stem[os.path.basename(stem)] = stem + suffix
    for name in sorted(wanted):
        # a name without folders may lie in any of them: CoVR keeps images by split
        path = by_path.get(name) or (None if "/" in name else by_stem.get(name))
        if path is not None:
            file = place / path
            yield name, _array(read_saved(file) if path.endswith(".pth") else read_npy(file), str(file))


def _csv(place: Place) -> Iterator[tuple[str, list[float]]]:
    for record in read_csv(place, ("clip_name", "clip_embeddings")):
        yield record.name("clip_name"), record.numbers("clip_embeddings")


def _texts(place: Place) -> Iterator[tuple[str, torch.Tensor]]:
    content = read_saved(place)
    texts, feats = (content.get(key) if isinstance(content, Mapping) else None for key in ("texts", "feats"))
    if not isinstance(texts, list) or not isinstance(feats, torch.Tensor) or len(texts) != len(feats):
        raise UserError("not a table of texts with as many vectors", str(place), FIX)
    yield from zip(texts, feats, strict=True)


def _pickles(place: Place) -> Iterator[tuple[str, Any]]:
    with place.open() as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        while file.tell() < size:
            content = _PlainUnpickler(file, str(place)).content()
            if not isinstance(content, dict):
                raise UserError(f"not a dict of vectors but a {type(content).__name__}", str(place), FIX)
            yield from content.items()


class _PlainUnpickler(InertUnpickler):
    """Reads what `pickle.dump` makes of tensors: each storage is a torch file inside the pickle."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        super().__init__(file, _no_storage, name)
        self._file = name

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return lambda data: legacy_content(io.BytesIO(data), self._file)[0]
        return super().find_class(module, name)

    def content(self) -> Any:
        try:
            return self.load()
        except UserError:
            raise
        except Exception as error:  # arbitrary bytes may fail in any way that an opcode can
            raise UserError(f"not a readable pickle ({reason(error)})", self._file, FIX) from None


def _no_storage(dtype: torch.dtype, key: str, numel: int) -> torch.Tensor:
    raise pickle.UnpicklingError(f"storage {key} lies outside of the pickle")


def _array(value: Any, where: str) -> np.ndarray:
    found = value.detach().float().numpy() if isinstance(value, torch.Tensor) else value
    if isinstance(found, list):
        found = np.array(found)
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu" or not found.size:
        raise UserError(f"not a vector but a {type(value).__name__}", where, FIX)
    return found.astype(np.float32)
