"""Hours, bytes and money of a data set on a cluster, from one decode rate measured here and counted operations.

    python benchmarks/plan.py --clips 131000 --triplets 1600000 --seconds 18 --size 596x336
    python benchmarks/plan.py --clips 40000 --triplets 180000 --seconds 4 --size 1280x720

Measured: clips a second that one core decodes and resizes (a made clip of that length and size, H.264, a key frame
every 250). Counted: operations of the video encoder for a clip (torch's counter on the model itself). Given: what a GPU
keeps up (--tflops, sustained) and what machines cost an hour; replace them by yours.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from covr.clips import Sampling
from covr.clips.decode import decode
from covr.models.video import AIM, AIMConfig

FPS = 30
KEY_FRAME_EVERY = 250
GRAIN = 4.0
"""Standard deviation of the noise, in steps of a pixel's value."""


def write_clip(path: Path, width: int, height: int, seconds: float) -> None:
    """A moving picture with a camera's grain, so that the codec has both to code."""
    draw = np.random.default_rng(0)
    blocks = draw.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    picture = blocks.repeat(8, 0).repeat(8, 1)[:height, :width].astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", FPS, options={"g": str(KEY_FRAME_EVERY)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(round(seconds * FPS)):
            grain = draw.normal(0, GRAIN, picture.shape)
            shown = (np.roll(picture, -2 * number, 1) + grain).clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown)))
        container.mux(stream.encode())


def decode_rate(width: int, height: int, seconds: float, frames: int, side: int) -> float:
    """Clips a second on one core: decoded at `frames` places and resized."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, width, height, seconds)
        begin, done = time.process_time(), 0
        while time.process_time() - begin < 5:
            clip = decode(str(path), Sampling(num_frames=frames))
            pictures = torch.from_numpy(np.ascontiguousarray(clip.frames))
            torch.nn.functional.interpolate(pictures.float(), (side, side), mode="bilinear", antialias=True)
            done += 1
        return done / (time.process_time() - begin)


def encoder_flops(config: AIMConfig) -> float:
    """Of one clip, forward."""
    with torch.device("meta"):
        model = AIM(config).eval()
        frames_BTCHW = torch.zeros(1, config.num_frames, 3, config.image_size, config.image_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(frames_BTCHW)
    return counter.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, required=True)
    parser.add_argument("--triplets", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=10, help="length of a clip")
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--epochs", type=int, default=20, help="of stage 1, which reads clips")
    parser.add_argument("--cores", type=int, default=64, help="that decode")
    parser.add_argument("--gpus", type=int, default=4)
    parser.add_argument("--tflops", type=float, default=25, help="sustained, of one GPU in bf16")
    parser.add_argument("--core-price", type=float, default=0.017, help="USD an hour, spot")
    parser.add_argument("--gpu-price", type=float, default=1.21, help="USD an hour, with its machine")
    given = parser.parse_args()
    torch.set_num_threads(1)
    width, height = map(int, given.size.split("x"))
    config = AIMConfig()
    rate = decode_rate(width, height, given.seconds, config.num_frames, config.image_size)
    flops = encoder_flops(config)
    decode_h = given.clips / rate / 3600
    embed_h = given.clips * flops / (given.tflops * 1e12) / 3600
    train_h = 3 * embed_h * given.epochs  # forward and backward: three times the forward's operations
    frame_bytes = config.num_frames * 3 * config.image_size**2
    gib = 1 << 30
    gpu_h, vectors = embed_h + train_h, given.clips * config.dim * 4 / gib
    lines = {
        "decode, one core": f"{rate:.2f} clips/s of {given.size}, {given.seconds:g} s (measured)",
        "decode, all clips once": f"{given.clips} / {rate:.2f} / 3600 = {decode_h:.1f} core hours",
        "on the cluster": f"{decode_h:.1f} / {given.cores} cores = {decode_h / given.cores:.2f} h",
        "encode a clip": f"{flops / 1e12:.2f} TFLOP (counted, AIM ViT-B/16, {config.num_frames} frames)",
        "embed": f"{given.clips} x {flops / 1e12:.2f} / {given.tflops:g} / 3600 = {embed_h:.2f} GPU hours",
        "pretrain": f"3 x {embed_h:.2f} x {given.epochs} epochs = {train_h:.1f} GPU hours",
        "of the wall clock": f"({embed_h:.2f} + {train_h:.1f}) / {given.gpus} GPUs = {gpu_h / given.gpus:.1f} h",
        "features/": f"{given.clips} x {config.dim} x 4 B = {vectors:.2f} GiB",
        "frames/, if kept": f"{given.clips} x {frame_bytes} B = {given.clips * frame_bytes / gib:.0f} GiB",
        "decode again each epoch": f"{decode_h:.1f} x {given.epochs} = {decode_h * given.epochs:.0f} core hours",
        "finetune reads": f"{given.triplets} triplets an epoch, over {vectors:.2f} GiB of mapped vectors",
        "cost of decoding": f"{decode_h:.1f} x {given.core_price:g} = {decode_h * given.core_price:.2f} USD",
        "cost of GPUs": f"{gpu_h:.1f} x {given.gpu_price:g} = {gpu_h * given.gpu_price:.0f} USD",
    }
    for name, told in lines.items():
        print(f"{name:24}{told}")


if __name__ == "__main__":
    main()
