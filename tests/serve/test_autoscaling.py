"""The number of encoders follows the load, up and down, and no query notices: `make drills-serve`."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from constant_load import Load, calm
from ray import serve as ray_serve
from small_root import build_root, small_retriever

from covr.storage import Place
from serve.app import app
from serve.settings import Settings

pytestmark = [pytest.mark.drill, pytest.mark.timeout(900)]

NAME = "scaled"
MOST = 3


def encoders() -> int:
    """Replicas that run."""
    return ray_serve.status().applications[NAME].deployments["Encoding"].replica_states.get("RUNNING", 0)


def wait(until: Callable[[], bool], limit_s: float) -> float:
    """Seconds that it took."""
    start = time.monotonic()
    while not until():
        assert time.monotonic() - start < limit_s, f"{encoders()} encoders after {limit_s:g} s"
        time.sleep(0.2)
    return time.monotonic() - start


def test_encoders_come_under_load_and_go_after_it(url, tmp_path):
    root = Place(tmp_path)
    build_root(root, small_retriever())
    settings = Settings(
        root=str(root),
        topology="separate",
        max_batch_size=2,
        max_encoders=MOST,
        upscale_delay_s=2,
        downscale_delay_s=5,
        timeout_s=120,
    )
    ray_serve.run(app(settings), name=NAME, route_prefix=f"/{NAME}")
    try:
        address = url.replace("/retrieval", f"/{NAME}")
        answers = calm(address)
        assert encoders() == 1
        with Load(address, answers, callers=12) as load:
            up_s = wait(lambda: encoders() == MOST, 240)
            before = load.statuses[200]
            wait(lambda: load.statuses[200] > before + 200, 240)
        with Load(address, answers, callers=1) as light:
            down_s = wait(lambda: encoders() == 1, 240)
            before = light.statuses[200]
            wait(lambda: light.statuses[200] > before + 20, 60)
    finally:
        ray_serve.delete(NAME)
    sent = sum(load.statuses.values()) + sum(light.statuses.values())
    longest_s = max(load.longest_s, light.longest_s)
    note = f"1 to {MOST} in {up_s:.0f} s, to 1 in {down_s:.0f} s"
    print(
        f"\n| encoders come under load, and go | {sent} | {load.errors + light.errors} | 0 | {longest_s:.1f} | {note} |"
    )
    for each in (load, light):
        assert (each.wrong, each.errors) == ([], 0)
