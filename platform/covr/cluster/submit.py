"""A job of `jobs/` handed to a Ray cluster: checked here first, shipped as code and configuration, never as data."""

from __future__ import annotations

import json
import os
import shlex
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ray.dashboard.modules.job.pydantic_models import JobDetails
from ray.job_submission import JobStatus

import covr
from covr.cluster.jobs import JobServer
from covr.config.compose import compose
from covr.errors import UserError

SHIPPED = ("platform", "jobs", "serve")
"""Folders of the checkout that travel; nothing else does, whatever lies beside them."""
USERS_ERROR = 2
"""Exit status of a job that was asked for something that cannot be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entrypoint:
    """Where and how the job's driver runs."""

    num_cpus: float = 0.0
    """0: beside the head, whatever the head has."""
    num_gpus: float = 0.0
    memory_mb: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    """Custom resources, e.g. {"driver": 1}."""
    python: str = "python"
    """The interpreter on the cluster."""
    retries: int = 2
    """Submissions after the first, where the driver was killed or its node was lost."""


def checkout() -> Path:
    """The folder that holds platform/, jobs/ and serve/.

    Raises:
        UserError: covr was installed without its jobs.
    """
    root = Path(covr.__file__).parents[2]
    if not all((root / name).is_dir() for name in SHIPPED):
        raise UserError(
            "there are no jobs beside this covr", str(root), "run covr submit from a checkout (make install)"
        )
    return root


def check_job(name: str, overrides: Sequence[str]) -> str | None:
    """Tell a mistake here, before anything is sent; the tracking server's address, if one is configured.

    Raises:
        UserError: no such job, a misspelt option, or a storage root that only one machine would see.
    """
    known = sorted(path.stem for path in (checkout() / "jobs").glob("*.py"))
    if name not in known:
        raise UserError("no such job", name, f"choose one of {', '.join(known)}")
    cfg = compose(overrides)
    if "://" not in cfg.out and not os.path.isabs(cfg.out):
        raise UserError(
            "a job on a cluster needs a storage root that all its nodes see",
            f"out={cfg.out}",
            "give out=s3://BUCKET/PATH (or gs://), or the absolute path of a shared folder",
        )
    return cfg.trainer.logger.uri


def runtime_env() -> dict[str, Any]:
    """What Ray unpacks on each node: the package, its configuration and the jobs."""
    others = ["/*", "!/."]  # the star takes in the folder itself
    os.environ.setdefault("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", "")  # Ray would warn of its own
    return {
        "working_dir": str(checkout()),
        "excludes": [*others, *(f"!/{name}" for name in SHIPPED), "__pycache__", "*.egg-info"],
        "env_vars": {"PYTHONPATH": "platform:.", "PYTHONUNBUFFERED": "1"},
    }


def submit(server: JobServer, name: str, overrides: Sequence[str], entrypoint: Entrypoint, attempt: int = 0) -> str:
    """Submit `jobs/<name>.py` with its overrides; return the submission's id.

    Args:
        attempt: how often the same was submitted before.

    Raises:
        UserError: see `check_job`, `JobServer.check`; or Ray refuses the submission.
    """
    check_job(name, overrides)
    server.check()
    with server.asked():
        return server.client.submit_job(
            entrypoint=shlex.join([entrypoint.python, f"jobs/{name}.py", *overrides]),
            submission_id=f"{name}-{uuid.uuid4().hex[:8]}",
            runtime_env=runtime_env(),
            metadata={
                "covr.job": name,
                "covr.overrides": json.dumps(list(overrides)),
                "covr.entrypoint": json.dumps(asdict(entrypoint)),
                "covr.attempt": str(attempt),
            },
            entrypoint_num_cpus=entrypoint.num_cpus or None,
            entrypoint_num_gpus=entrypoint.num_gpus or None,
            entrypoint_memory=(entrypoint.memory_mb << 20) or None,
            entrypoint_resources=dict(entrypoint.resources) or None,
        )


def submit_again(server: JobServer, job: JobDetails) -> str | None:
    """Submit a failed job once more, with the code of this checkout; None where that would not help.

    A job that ended by itself with a user's error (exit status 2) or was stopped is not tried again, nor one that was
    submitted by other means or as often as it may be.
    """
    given = job.metadata or {}
    if job.status != JobStatus.FAILED or job.driver_exit_code == USERS_ERROR or "covr.entrypoint" not in given:
        return None
    entrypoint, attempt = Entrypoint(**json.loads(given["covr.entrypoint"])), int(given["covr.attempt"]) + 1
    if attempt > entrypoint.retries:
        return None
    return submit(server, given["covr.job"], json.loads(given["covr.overrides"]), entrypoint, attempt)
