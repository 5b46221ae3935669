"""A newcomer who types the commands of README.md and docs/, on small data."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
from doc_commands import REPO

from covr.client import Client
from covr.errors import UserError

SHORT = "model/text=random model.pretrain.max_epochs=1 model.finetune.max_epochs=2 test.bootstrap=50"
TINY = "data.size=tiny"


class Reader:
    """A newcomer's terminal, in a folder that looks like a fresh checkout."""

    def __init__(self, home: Path, clips: Path, query: str) -> None:
        """`clips` is the reader's own folder, `query` one of its files."""
        self.home, self.clips, self.query = home, clips, query
        for name in (".venv", "Makefile", "pyproject.toml", "requirements.lock", "platform", "jobs", "serve"):
            (home / name).symlink_to(REPO / name)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.environment = {**os.environ, "COVR_URL": f"http://127.0.0.1:{self.port}", "COLUMNS": "200"}
        self.serving: subprocess.Popen | None = None

    def types(self, command: str) -> None:
        """One command, to its end; of `make serve`, until it answers."""
        serves = "make serve" in command
        command = self.fitted(command)
        if serves:
            self.serve(command)
            return
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=1200
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"

    def fitted(self, command: str) -> str:
        """The command on small data."""
        command = command.replace("DIR/IMG_0412.MOV", f"'DIR/{self.query}'").replace("DIR", str(self.clips))
        if command.startswith("make "):
            # The environment is there already, and is not this test's to install anew.
            command = command.replace("make ", "make -o .venv/.installed-cpu ", 1)
            return f"{command} SIZE=tiny PORT={self.port}"
        if command.startswith("python "):
            command = f".venv/bin/{command}"
        if "jobs/" in command and "data=folder" not in command:
            return f"{command.replace('data.size=small', TINY)} {TINY} {SHORT}"
        if "jobs/" in command and "index.retriever" not in command:
            return f"{command} {SHORT}"
        if "m1735461a0b73877.mp4" in command:
            clip = next((self.home / "out/demo/media/test").glob("*.mp4"))
            return command.replace("out/demo/media/test/m1735461a0b73877.mp4", str(clip))
        return command

    def serve(self, command: str) -> None:
        self.stop()
        self.serving = subprocess.Popen(
            ["bash", "-c", command], cwd=self.home, env=self.environment, start_new_session=True
        )
        deadline = time.monotonic() + 300
        while True:
            try:
                with Client(self.environment["COVR_URL"]) as client:
                    client.ready()
                    return
            except (UserError, httpx.HTTPError):
                if self.serving.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def stop(self) -> None:
        """Ctrl-C."""
        if self.serving is not None:
            os.killpg(self.serving.pid, signal.SIGINT)
            self.serving.wait(60)
        self.serving = None
