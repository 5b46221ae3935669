"""What every video encoder offers, and the way from decoded frames to its pixels.

Shapes: B clips, T frames, C channels (RGB), H x W pixels, D width.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from covr.clips.resize import Resize
from covr.clips.sampling import Sampling
from covr.models.sides import Feature

if TYPE_CHECKING:
    from covr.models.video.aim import AIMConfig


class VideoEncoder(nn.Module):
    """Frames of a clip to one raw vector a frame, and those to one vector.

    Attributes:
        config: decides the architecture and the pixels; part of the fingerprint.
        dim: D, the width of the vectors.
        num_frames: T, the frames of a clip that it reads.
        writes: what `features` gives.
    """

    writes: tuple[Feature, ...] = ("pooled", "frames")

    def __init__(self, config: AIMConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim
        self.num_frames = config.num_frames
        self.mean = nn.Buffer(torch.tensor(config.mean).view(1, 1, 3, 1, 1), persistent=False)
        self.std = nn.Buffer(torch.tensor(config.std).view(1, 1, 3, 1, 1), persistent=False)

    @property
    def sampling(self) -> Sampling:
        """Which frames of a clip the encoder reads."""
        return Sampling(kind=self.config.sampling, num_frames=self.num_frames, interval=self.config.frame_interval)

    @property
    def resize(self) -> Resize:
        """uint8 frames (B, T, 3, H, W) of any size to uint8 (B, T, 3, image_size, image_size)."""
        return Resize(self.config.image_size)

    def normalise(self, frames_BTCHW: Tensor) -> Tensor:
        """uint8 frames to float32 pixels, by the channels' mean and standard deviation on the 0-255 scale."""
        return frames_BTCHW.to(torch.float32).sub_(self.mean).div_(self.std)

    def preprocess(self, frames_BTCHW: Tensor) -> Tensor:
        """Decoded uint8 RGB frames of any size to float32 pixels (B, T, 3, image_size, image_size)."""
        return self.normalise(self.resize(frames_BTCHW))

    def forward(self, pixels_BTCHW: Tensor) -> Tensor:
        """Float pixels to raw frame vectors (B, T, D)."""
        raise NotImplementedError

    def pool(self, frames: Tensor) -> Tensor:
        """Frame vectors (B, T, D), or the pixels (B, T, 3, H, W) of them, to one raw vector a clip (B, D): the mean."""
        return (self(frames) if frames.ndim == 5 else frames).mean(dim=1)

    def features(self, frames_BTCHW: Tensor) -> dict[Feature, Tensor]:
        """Resized uint8 frames to raw frame vectors (B, T, D) and clip vectors (B, D)."""
        frames_BTD = self(self.normalise(frames_BTCHW))
        return {"pooled": self.pool(frames_BTD), "frames": frames_BTD}

    def fingerprint(self) -> str:
        """Hash of the configuration and of every weight; where the encoder lies does not enter it."""
        return module_fingerprint(self, settings(self.config))


def settings(config: Any) -> dict[str, Any]:
    """What a component's configuration decides, without where its first weights came from."""
    return {key: value for key, value in asdict(config).items() if key not in ("weights", "files")}


def module_fingerprint(module: nn.Module, *identity: Any) -> str:
    """Hash of JSON values and of a module's state (names, types, shapes, bytes); 32 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    for name, tensor in sorted(module.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]
