"""The doctor of a cluster that is reached by its job server: its door from here, its nodes from within."""

from __future__ import annotations

import json
import shlex
import time
import uuid
from collections.abc import Iterator, Sequence

import httpx

from covr.cluster.jobs import ENDED, JobServer
from covr.cluster.submit import runtime_env
from covr.doctor.finding import Finding, findings
from covr.doctor.nodes import MARK

_PATIENCE_S = 300.0
_MONITOR_S = 6.0
"""In which Ray's monitor, which looks at every job once a second, has seen that one has ended."""


def examine_cluster(server: JobServer, overrides: Sequence[str], python: str = "python") -> Iterator[Finding]:
    """Versions, whether the door is locked, then every node, by a small job that takes no CPU; it is removed again."""
    yield from findings("versions", lambda: _versions(server))
    yield door(server.address)
    yield from findings("nodes", lambda: _nodes(server, overrides, python))


def _versions(server: JobServer) -> Iterator[Finding]:
    server.check()
    found = server.versions()
    yield Finding(check="head", found=f"{server.address} answers: Ray {found.ray}, Python {found.python}")


def door(address: str) -> Finding:
    """Whether the job server answers somebody who has no token: such a person runs any code on the cluster."""
    answer = httpx.get(f"{address}/api/jobs/", timeout=20)
    if answer.status_code in (401, 403):
        return Finding(check="token", found=f"without it {address} answers {answer.status_code}")
    fix = "start Ray with RAY_AUTH_MODE=token, and keep its ports behind a firewall"
    return Finding(check="token", found=f"{address} takes jobs from anybody", state="fault", fix=fix)


def _nodes(server: JobServer, overrides: Sequence[str], python: str) -> Iterator[Finding]:
    with server.asked():
        job = server.client.submit_job(
            entrypoint=shlex.join([python, "-m", "covr.doctor.nodes", *overrides]),
            submission_id=f"doctor-{uuid.uuid4().hex[:8]}",
            runtime_env=runtime_env(),
        )
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while server.job(job).status not in ENDED:
            if time.monotonic() > deadline:
                fix = f"covr jobs logs {job}; is the cluster full, or a node stuck?"
                yield Finding(check="nodes", found=f"no answer in {_PATIENCE_S:.0f} s", state="fault", fix=fix)
                return
            time.sleep(1)
        lines = server.logs(job).splitlines()
        found = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]
        if not found:
            last = lines[-1][:200] if lines else server.job(job).message
            yield Finding(check="nodes", found=f"the looking job failed: {last}", state="fault", fix="see the message")
            return
        yield from (Finding(**each) for each in json.loads(found[0]))
    finally:
        with server.asked():
            server.client.stop_job(job)
            deadline = time.monotonic() + 20
            while server.client.get_job_status(job) not in ENDED and time.monotonic() < deadline:
                time.sleep(0.2)
        _forget(server, job)


def _forget(server: JobServer, job: str) -> None:
    """Delete an ended job; Ray's monitor, a second behind, writes one back as failed whose end it had not yet seen."""
    deadline = time.monotonic() + _MONITOR_S
    while time.monotonic() < deadline:
        if any(each.submission_id == job for each in server.jobs()):
            with server.asked():
                server.client.delete_job(job)
        time.sleep(0.5)
