"""A real Ray cluster of several nodes on this machine: `ray start` for each, with tokens and a folder of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import httpx

BIN = Path(sys.executable).parent
COVR = "from covr.cli.main import app; app()"


def free_port() -> int:
    """Not one of 10002 to 19999, which Ray gives its workers."""
    while True:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            if not 10002 <= (port := sock.getsockname()[1]) <= 19999:
                return port


class Nodes:
    """A head, and workers that are added and killed; all processes end with `stop`.

    Attributes:
        address: of the job server.
        env: what a process needs to speak with the cluster.
    """

    def __init__(self, num_cpus: float = 0, object_store_mb: int = 200, redis: str | None = None, **env: str) -> None:
        # Short: Ray's socket paths may have 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        self.token = self.folder / "token"
        self.token.write_text(secrets.token_hex(32))
        self.port, self.dashboard_port, self.client_port = free_port(), free_port(), free_port()
        self.address = f"http://127.0.0.1:{self.dashboard_port}"
        self.redis = redis
        ours = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token),
            "RAY_API_SERVER_ADDRESS": self.address,
        }
        gone = ("RAY_ADDRESS", "PYTHONPATH")
        kept = {name: value for name, value in os.environ.items() if name not in gone}
        self.env = {**kept, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **ours, **env}
        self.head_options = [f"--num-cpus={num_cpus}", f"--object-store-memory={object_store_mb << 20}"]
        self.processes: list[subprocess.Popen] = []
        self.head = self.start_head()

    def start_head(self) -> subprocess.Popen:
        """Start the head, or start it again at the same address; return its process once its job server answers."""
        options = ["--head", f"--port={self.port}", f"--dashboard-port={self.dashboard_port}", *self.head_options]
        options += ["--dashboard-host=127.0.0.1", f"--ray-client-server-port={self.client_port}"]
        self.head = self._start(options, {"RAY_REDIS_ADDRESS": self.redis} if self.redis else {})
        deadline = time.monotonic() + 90
        while True:
            try:
                self.get("/api/version")
                return self.head
            except httpx.HTTPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)

    def get(self, path: str) -> dict:
        """What the dashboard answers to somebody who has the token."""
        headers = {"Authorization": f"Bearer {self.token.read_text()}"}
        return httpx.get(f"{self.address}{path}", headers=headers, timeout=30).raise_for_status().json()

    def _alive(self) -> set[str]:
        nodes = self.get("/api/v0/nodes")["data"]["result"]["result"]
        return {node["node_id"] for node in nodes if node["state"] == "ALIVE"}

    def add(self, num_cpus: float, num_gpus: float = 0, object_store_mb: int = 200, resources: str = "{}", **env: str):
        """Start one more node and return its process once it is there; its GPUs are Ray's word for it alone."""
        before = self._alive()
        options = [f"--address=127.0.0.1:{self.port}", f"--num-cpus={num_cpus}", f"--num-gpus={num_gpus}"]
        options += [f"--object-store-memory={object_store_mb << 20}", f"--resources={resources}"]
        process = self._start(options, env)
        deadline = time.monotonic() + 90
        while not self._alive() - before:  # one that was killed may count as alive for a while
            if time.monotonic() > deadline:
                raise TimeoutError((self.folder / f"{len(self.processes) - 1}.log").read_text()[-2000:])
            time.sleep(0.3)
        return process

    def _start(self, options: list[str], env: dict[str, str]) -> subprocess.Popen:
        command = [str(BIN / "ray"), "start", "--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1"]
        command += ["--min-worker-port=0", "--max-worker-port=0"]  # the default ranges of two nodes are the same
        command += [f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={free_port()}"]
        # A folder of its own: nodes of one host would share runtime environments, and delete each other's.
        command += [f"--temp-dir={self.folder}/{len(self.processes)}", *options]
        with (self.folder / f"{len(self.processes)}.log").open("ab") as log:
            process = subprocess.Popen(
                command, env={**self.env, **env}, start_new_session=True, stdout=log, stderr=log, cwd=self.folder
            )
        self.processes.append(process)
        return process

    def kill(self, node: subprocess.Popen) -> None:
        """SIGKILL of every process of a node at once, as when its machine is lost."""
        os.killpg(node.pid, signal.SIGKILL)
        node.wait()

    def covr(self, *words: str, timeout_s: float = 500, **env: str) -> subprocess.CompletedProcess:
        """Run `covr WORDS` to its end, as a person would beside this cluster."""
        return subprocess.run(
            [str(BIN / "python"), "-c", COVR, *words],
            env={**self.env, "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **env},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the GCS may not heed a polite signal
        shutil.rmtree(self.folder, ignore_errors=True)
