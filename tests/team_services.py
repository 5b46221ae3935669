"""What a team runs beside its cluster: an MLflow server, and PostgreSQL behind it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from ray_nodes import free_port


class Postgres:
    """A database on loopback in a folder of its own; PostgreSQL refuses to be run by root, so root lends it a user."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self.port = free_port()
        self.user = (
            None if os.geteuid() else next(u.pw_name for u in pwd.getpwall() if u.pw_name in ("postgres", "nobody"))
        )
        if self.user is not None:
            shutil.chown(self.folder, self.user)
        data = self.folder / "data"
        self._run("initdb", "-D", str(data), "-U", "mlflow", "-A", "trust", "--no-sync")
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "-D", str(data), "-w", "-o", options, "-l", str(self.folder / "log"), "start")
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "mlflow", "mlflow")
        self.uri = f"postgresql+psycopg2://mlflow@127.0.0.1:{self.port}/mlflow"

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, *command: str) -> None:
        # pg_ctl's server would hold a pipe open for ever; a file it may keep.
        with (self.folder.parent / f"{self.folder.name}.out").open("w+b") as out:
            done = subprocess.run(command, user=self.user, stdout=out, stderr=out, cwd="/", check=False)
            out.seek(0)
            assert done.returncode == 0, out.read().decode()
        Path(out.name).unlink()


class TrackingServer:
    """`mlflow server` on loopback, with all the processes that it starts; it can be killed and started again."""

    def __init__(self, folder: Path, store: str | None = None, artifacts: str | None = None, **env: str) -> None:
        self.folder, self.env = folder, env
        self.store = store or f"sqlite:///{folder}/mlflow.db"
        self.artifacts = artifacts or str(folder / "artifacts")
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self.store]
        command += ["--serve-artifacts", "--artifacts-destination", self.artifacts]
        seven_processes_less = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
                env={**os.environ, **seven_processes_less, **self.env},
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.2)
        raise TimeoutError((self.folder / "server.log").read_text()[-2000:])

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
