"""The two stages that Ray Data runs as actors: clips to frames, frames to vectors.

Each takes and gives Arrow blocks and keeps nothing between them, so a block may be done twice. A refused clip
travels on as a row with a reason.

    B clips  T frames  D width
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import torch

from covr.clips.failure import DecodeFailure
from covr.clips.fetch import on_disk
from covr.clips.isolated import IsolatedDecoder
from covr.clips.sampling import Sampling
from covr.embed.quarantine import settled
from covr.errors import UserError
from covr.limits import JOB_LIMITS
from covr.storage import Place

if TYPE_CHECKING:  # importing covr.models takes seconds, and no worker that decodes needs it
    from covr.models.sides import Encoder

_WORK = [("clip_id", pa.string()), ("key", pa.string()), ("uri", pa.string()), ("attempt", pa.int32())]
_REFUSAL = [
    ("reason", pa.string()),
    ("detail", pa.string()),
    ("user_error", pa.list_(pa.string())),  # what, where, fix: ends the job; raised, it would lose its type on the way
]

TODO = pa.schema([*_WORK, ("start_s", pa.float64()), ("end_s", pa.float64()), ("features", pa.list_(pa.string()))])
"""A clip to work on; `features` are those that it lacks."""
DECODED = pa.schema(
    [
        *_WORK,
        ("features", pa.list_(pa.string())),
        ("frames", pa.large_binary()),  # uint8, row-major of `shape`; null: refused
        ("shape", pa.list_(pa.int32())),  # (T, 3, h, w)
        ("frame_indices", pa.list_(pa.int32())),
        *_REFUSAL,
    ]
)
ENCODED = pa.schema(
    [
        *_WORK,
        ("feature", pa.string()),  # null: refused
        ("value", pa.list_(pa.float32())),
        ("shape", pa.list_(pa.int32())),
        ("frame_indices", pa.list_(pa.int32())),
        *_REFUSAL,
    ]
)


class Decode:
    """TODO blocks to DECODED blocks: sampled frames, resized to what the encoder reads.

    Args:
        root: what the clips' relative URIs start from.
        resize: uint8 frames (1, T, 3, H, W) to (1, T, 3, h, w), e.g. `VideoEncoder.resize`.
    """

    def __init__(
        self, root: Place, sampling: Sampling, decoder: Any, resize: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        torch.set_num_threads(1)
        self.root, self.sampling, self.resize = root, sampling, resize
        self.decoder = IsolatedDecoder(decoder, JOB_LIMITS)

    def __call__(self, block: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([self._row(row) for row in block.to_pylist()], DECODED)

    def _row(self, row: dict) -> dict:
        try:
            frames, indices = self._frames(row)
        except DecodeFailure as failure:
            if not settled(row["attempt"], failure.reason):  # it may lie in the machine: once more, now
                return self._row({**row, "attempt": row["attempt"] + 1})
            return {**row, "reason": failure.reason, "detail": failure.detail}
        except UserError as error:
            return {**row, "user_error": [error.what, error.where, error.fix]}
        return {**row, "frames": frames.tobytes(), "shape": frames.shape, "frame_indices": indices}

    def _frames(self, row: dict) -> tuple[np.ndarray, list[int]]:
        with on_disk(self.root.resolve(row["uri"])) as path:
            return self._decode(str(path), row)

    def _decode(self, path: str, row: dict) -> tuple[np.ndarray, list[int]]:
        # Part by part: many frames of a large picture are only small once they are resized.
        frames: list[np.ndarray] = []
        indices: list[int] = []
        num_sampled = 1
        while len(indices) < num_sampled:
            clip = self.decoder.decode(path, self.sampling, row["start_s"], row["end_s"], part_from=len(indices))
            frames.append(self.resize(torch.from_numpy(clip.frames)[None])[0].contiguous().numpy())
            indices += clip.indices.tolist()
            num_sampled = clip.num_sampled
        return np.concatenate(frames), indices


class Encode:
    """DECODED blocks to ENCODED blocks, `batch` clips at a time.

    Every batch is filled up to one size, so that a clip's vector does not depend on the clips beside it: a run that
    was killed and resumed yields the rows of a calm one.

    Args:
        load: gives the encoder, once a worker.
    """

    def __init__(self, load: Callable[[], Encoder], batch: int, threads: int, device: str) -> None:
        torch.set_num_threads(threads)
        self.batch, self.device = batch, torch.device(device)
        self.encoder = cast(Any, load()).to(self.device).eval()

    def __call__(self, block: pa.Table) -> pa.Table:
        rows = block.to_pylist()
        good = [row for row in rows if row["frames"] is not None]
        out = [row for row in rows if row["frames"] is None]
        for start in range(0, len(good), self.batch):
            out += self._encode(good[start : start + self.batch])
        return pa.Table.from_pylist(out, ENCODED)

    @torch.inference_mode()
    def _encode(self, rows: Sequence[dict]) -> list[dict]:
        frames = [np.frombuffer(row["frames"], np.uint8).reshape(row["shape"]) for row in rows]
        frames += [np.zeros_like(frames[0])] * (self.batch - len(frames))
        frames_BTCHW = torch.from_numpy(np.stack(frames)).to(self.device)
        values = {name: value.float().cpu() for name, value in self.encoder.features(frames_BTCHW).items()}
        out = []
        for place, row in enumerate(rows):
            real = torch.tensor(row["frame_indices"]) >= 0
            for feature in row["features"]:
                value = values[feature][place]
                if feature == "frames":  # padding frames count for nothing
                    value = value[real]
                value = value.numpy()
                out.append({**row, "feature": feature, "value": value.ravel(), "shape": value.shape})
        return out
