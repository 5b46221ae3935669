"""Features of clips in one memory-mapped Arrow file, shared by all workers of a machine."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from covr.errors import UserError
from covr.storage import Place


class Vectors:
    """Raw features of clips, read where they lie.

    Attributes:
        clip_ids: N, in the order of the values.
        values: float32 (N, ...), memory-mapped from a local place, else in memory; not to be written to.
    """

    def __init__(self, place: Place) -> None:
        source = pa.memory_map(str(place.local())) if place.is_local else pa.BufferReader(place.read_bytes())
        table = pa.ipc.open_file(source).read_all().combine_chunks()
        self.clip_ids: list[str] = table["clip_id"].to_pylist()
        self._rows = {clip_id: row for row, clip_id in enumerate(self.clip_ids)}
        flat = table["value"].chunk(0).flatten().to_numpy(zero_copy_only=True)
        self.values = flat.reshape(len(table), *json.loads(table.schema.metadata[b"shape"]))

    def rows(self, clip_ids: Sequence[str]) -> np.ndarray:
        """Where the clips' vectors lie, int64.

        Raises:
            UserError: a clip without a vector.
        """
        try:
            return np.array([self._rows[clip_id] for clip_id in clip_ids], dtype=np.int64)
        except KeyError as missing:
            raise UserError("a clip has no vector", f"clip {missing.args[0]}", "run jobs/embed.py") from None

    @staticmethod
    def write(place: Place, clip_ids: Sequence[str], values: np.ndarray) -> None:
        """Write the features (N, ...) of N clips whole or not at all."""
        shape = values.shape[1:]
        rows = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), math.prod(shape))
        columns = {"clip_id": pa.array(clip_ids, pa.string()), "value": rows}
        table = pa.table(columns).replace_schema_metadata({"shape": json.dumps(shape)})
        buffer = pa.BufferOutputStream()
        with pa.ipc.new_file(buffer, table.schema) as writer:
            writer.write_table(table)
        place.write_bytes(buffer.getvalue().to_pybytes())
