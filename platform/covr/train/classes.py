"""Action classes and attribute values of a data set, and what mirroring a clip does to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from covr.errors import UserError
from covr.train.augment import Flip

Pairs = list[tuple[str, str]] | None  # a map column's value
IGNORED = -100  # cross-entropy's ignore_index: a row without a class


@dataclass(frozen=True, kw_only=True, slots=True)
class Classes:
    """Names in the order of the logits, as the training split has them."""

    labels: list[str]
    attributes: dict[str, list[str]]

    @classmethod
    def of(cls, clips: pa.Table, *, with_attributes: bool) -> Classes:
        """From the columns `label` and `attributes` of a clips table (its train split).

        Raises:
            UserError: fewer than two labels.
        """
        labels = sorted({label for label in clips["label"].to_pylist() if label is not None})
        if len(labels) < 2:
            raise UserError("action classification needs two labels or more", "clips.label", "label the train split")
        values: dict[str, set[str]] = {}
        for pairs in clips["attributes"].to_pylist() if with_attributes else []:
            for name, value in pairs or ():
                values.setdefault(name, set()).add(value)
        return cls(labels=labels, attributes={name: sorted(found) for name, found in sorted(values.items())})

    @property
    def heads(self) -> list[str]:
        """Names of the targets' columns: `label`, then the attributes."""
        return ["label", *self.attributes]

    def targets(self, clips: pa.Table) -> np.ndarray:
        """Class indices of clips, int64 (N, 1 + attributes); IGNORED where a clip has no (known) value."""
        return self._encode(clips["label"].to_pylist(), clips["attributes"].to_pylist())

    def mirrored(self, clips: pa.Table, flip: Flip) -> tuple[np.ndarray, np.ndarray]:
        """The targets of clips seen in a mirror, and which clips may be shown so.

        A mirrored clip's label is the one whose clips have its attributes with `flip.swap` exchanged. Where the
        data set has no such label, or more than one, it is IGNORED; the attributes are known all the same. A clip
        without one of the swapped values may not be mirrored: nothing would say what it shows.
        """
        swap = dict(zip(flip.swap, reversed(flip.swap), strict=True))
        attributes = clips["attributes"].to_pylist()
        owners: dict[tuple, set[str]] = {}
        for label, pairs in zip(clips["label"].to_pylist(), attributes, strict=True):
            owners.setdefault(_key(pairs), set()).add(label)
        swapped: list[Pairs] = [
            [(name, swap.get(value, value) if name == flip.attribute else value) for name, value in pairs or ()]
            for pairs in attributes
        ]
        labels = [owners.get(_key(pairs), set()) for pairs in swapped]
        allowed = [_key(before) != _key(after) for before, after in zip(attributes, swapped, strict=True)]
        only = [next(iter(found)) if len(found) == 1 else None for found in labels]
        return self._encode(only, swapped), np.array(allowed, dtype=bool)

    def _encode(self, labels: list[str | None], attributes: list[Pairs]) -> np.ndarray:
        columns: list[list[str | None]] = [[label] for label in labels]
        for row, pairs in zip(columns, attributes, strict=True):
            values = dict(pairs or ())
            row += [values.get(name) for name in self.attributes]
        index: list[dict[str | None, int]] = [
            {name: place for place, name in enumerate(names)} for names in (self.labels, *self.attributes.values())
        ]
        encoded = [[known.get(value, IGNORED) for known, value in zip(index, row, strict=True)] for row in columns]
        return np.array(encoded, dtype=np.int64).reshape(len(labels), len(index))


def _key(pairs: Pairs) -> tuple:
    return tuple(sorted(pairs or ()))
