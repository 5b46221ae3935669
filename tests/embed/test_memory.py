"""More frames than memory: embedding a set four times as large as the object store spills nothing and stays small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress

import psutil
import pytest
import torch
from make_videos import make_video

from covr.models import AIM, AIMConfig, save_video

STORE_MB = 80
CONFIG = AIMConfig(image_size=224, num_frames=16, dim=16, patch_size=112, depth=1, num_heads=2)
CLIP_BYTES = CONFIG.num_frames * 3 * CONFIG.image_size**2
NUM_CLIPS = 4 * (STORE_MB << 20) // CLIP_BYTES + 1
BATCH_CLIPS = 4
BOUND = (600 << 20) + 4 * BATCH_CLIPS * CLIP_BYTES
"""Of one process: what torch, Ray and transformers take once imported (563 MiB), and four blocks of frames."""

JOB = """
import json, sys
from covr.config.compose import compose
from covr.embed.job import embed_clips
from covr.storage import Place
root = Place(sys.argv[1])
machine = compose(sys.argv[2:]).machine
print(json.dumps(embed_clips(root, root / "pretrain/model", machine)))
"""


@pytest.mark.drill
def test_a_set_four_times_the_object_store(root):
    make_video(root.media / "a.mp4", width=256, height=256, num_frames=20)
    for number in range(NUM_CLIPS):
        root.add(f"clip{number:04d}", "media/a.mp4")
    root.publish()
    torch.manual_seed(0)
    save_video(AIM(CONFIG).eval(), root.model)
    options = [f"machine.object_store_mb={STORE_MB}", "machine.num_cpus=2", f"machine.batch_clips={BATCH_CLIPS}"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    job = subprocess.Popen(
        [sys.executable, "-c", JOB, str(root.place), *options], env=environment, stdout=subprocess.PIPE, text=True
    )
    largest: dict[str, int] = {}  # bytes that a process shares with no other, as it does the object store
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            with suppress(psutil.Error):  # one that has just ended
                for process in [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]:
                    name = " ".join(process.cmdline()[:2])[:60]
                    largest[name] = max(largest.get(name, 0), process.memory_full_info().uss)
            time.sleep(0.3)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    printed, _ = job.communicate(timeout=280)
    ended.set()
    assert job.returncode == 0
    found = json.loads(printed.splitlines()[-1])
    assert found["rows"] * CLIP_BYTES >= 4 * STORE_MB << 20
    assert found["spilled_mb"] == 0
    assert any("Decode" in name for name in largest)
    assert any("Encode" in name for name in largest)
    assert {name: size >> 20 for name, size in largest.items() if size > BOUND} == {}
