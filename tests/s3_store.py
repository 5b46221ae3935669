"""An S3 server on loopback, and what a process needs in its environment to use it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from moto.server import ThreadedMotoServer
from wire import Wire

BUCKET = "covr"


class Store:
    """`env` names the server by way of `wire`, which can be cut; `root` is a place in its one bucket."""

    def __init__(self, port: int) -> None:
        self.wire = Wire(port)
        self.env = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.wire.address,
        }
        self.root = f"s3://{BUCKET}"
        httpx.put(f"http://127.0.0.1:{port}/{BUCKET}").raise_for_status()


@contextmanager
def s3_store() -> Iterator[Store]:
    """The server, and its environment in this process too."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each of thousands of requests
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    store = Store(server.get_host_and_port()[1])
    before = {name: os.environ.get(name) for name in store.env}
    os.environ |= store.env
    try:
        yield store
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        server.stop()
