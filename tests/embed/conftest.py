"""A small storage root with real clips and an encoder of the smallest kind."""

from __future__ import annotations

import pytest
import torch
from make_videos import make_audio, make_corrupt, make_video
from omegaconf import DictConfig, OmegaConf

from covr import tables
from covr.config.compose import compose
from covr.models import AIM, AIMConfig, save_video
from covr.storage import Place, TableStore
from covr.storage.place import fingerprint

CONFIG = AIMConfig(image_size=32, num_frames=4, dim=32, patch_size=16, depth=1, num_heads=2)


class Root:
    """A storage root under construction."""

    def __init__(self, folder) -> None:
        self.place = Place(folder)
        self.media = folder / "media"
        self.media.mkdir(parents=True)
        self.rows: list[dict] = []

    def add(self, clip_id: str, uri: str, **columns: object) -> None:
        file = self.place / uri
        sha256 = file.sha256() if file.exists() else "0" * 64
        self.rows.append({"clip_id": clip_id, "uri": uri, "kind": "video", "sha256": sha256, **columns})

    def add_videos(self, count: int, **video: int) -> None:
        for number in range(count):
            name = f"clip{len(self.rows):03d}"
            make_video(self.media / f"{name}.mp4", width=64, height=64, seed=number, **video)
            self.add(name, f"media/{name}.mp4")

    def add_bad_five(self) -> dict[str, str]:
        """A corrupt, an empty, a non-video, an audio-only and an over-limit file; their reasons by clip_id."""
        make_corrupt(self.media / "corrupt.mp4", num_frames=90)
        (self.media / "empty.mp4").touch()
        (self.media / "text.mp4").write_text("not a video\n" * 50)
        make_audio(self.media / "audio.mp4")
        make_video(self.media / "long.mp4", num_frames=302, fps=1, width=64, height=64)
        reasons = {
            "corrupt": "corrupt",
            "empty": "empty",
            "text": "not-a-video",
            "audio": "no-video-stream",
            "long": "over-limit",
        }
        for name in reasons:
            self.add(name, f"media/{name}.mp4")
        return reasons

    def publish(self) -> None:
        table = tables.from_rows("clips", self.rows)
        TableStore(self.place / "tables/clips", "clips").publish(table, fingerprint(self.rows))

    @property
    def clips(self):
        return TableStore(self.place / "tables/clips", "clips").read()

    @property
    def model(self) -> Place:
        return self.place / "pretrain/model"

    def train(self, seed: int) -> AIM:
        """Another stage-1 encoder in the place of the last one."""
        torch.manual_seed(seed)
        encoder = AIM(CONFIG)
        for parameter in encoder.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        save_video(encoder.eval(), self.model)
        return encoder


@pytest.fixture
def root(tmp_path) -> Root:
    return Root(tmp_path / "root")


@pytest.fixture
def machine() -> DictConfig:
    config = compose([]).machine
    return OmegaConf.merge(config, {"batch_clips": 4, "decode_workers": 1})
