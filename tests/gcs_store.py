"""A Google Cloud Storage server on loopback, and what a process needs in its environment to use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from gcp_storage_emulator.server import create_server
from ray_nodes import free_port
from wire import Wire

BUCKET = "covr"


class Store:
    """`env` names the server by way of `wire`, which can be cut; `root` is a place in its one bucket."""

    def __init__(self, port: int) -> None:
        self.wire = Wire(port)
        self.env = {"STORAGE_EMULATOR_HOST": self.wire.address}
        self.root = f"gs://{BUCKET}"


@contextmanager
def gcs_store() -> Iterator[Store]:
    """The server, and its environment in this process too."""
    port = free_port()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    server.start()
    store = Store(port)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in store.env.items():
                patch.setenv(name, value)
            yield store
    finally:
        server.stop()
