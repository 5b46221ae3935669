"""The job server of a Ray cluster: reached, checked against what covr needs, and asked about its jobs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import ray
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from ray.dashboard.modules.job.pydantic_models import JobDetails
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from covr.errors import UserError

ENDED = {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Versions:
    """What a cluster runs."""

    ray: str
    python: str


class JobServer:
    """A cluster's job server; every method raises UserError where it does not answer or refuses the token.

    Args:
        address: `http://HOST:PORT` of the dashboard.
        token_file: holds the cluster's token; None: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token, as Ray
            looks for it.
    """

    def __init__(self, address: str, token_file: Path | None = None) -> None:
        self.address = address.rstrip("/")
        if not self.address.startswith(("http://", "https://")):
            raise UserError("not the address of a job server", address, "give http://HEAD:8265, the dashboard's")
        if token_file is not None:
            if not token_file.is_file():
                raise UserError("no such file", str(token_file), "give --token-file the file of the cluster's token")
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file)}
        os.environ["RAY_API_SERVER_ADDRESS"] = self.address  # Ray puts the environment above what it is given
        with self.asked():
            self.client = JobSubmissionClient(self.address)

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Turns what Ray's client raises into one line."""
        try:
            yield
        except AuthenticationError:
            fix = (
                "give --token-file FILE or set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN; on the head: ray get-auth-token"
            )
            raise UserError("the cluster asks for its token", self.address, fix) from None
        except OSError:  # of requests, too
            fix = (
                "give --address the dashboard's, through a tunnel (`ray dashboard`, `kubectl port-forward`) if need be"
            )
            raise UserError("no job server answers", self.address, fix) from None
        except RuntimeError as error:
            raise UserError("the job server refuses", self.address, _reason(error)) from None

    def versions(self) -> Versions:
        """Ray and Python of the cluster's head."""
        with self.asked():
            # Ray's client has no public call for this; the route is that of its dashboard.
            found = self.client._do_request("GET", "/api/v0/cluster_metadata").json()["data"]
        return Versions(ray=found["rayVersion"], python=found["pythonVersion"])

    def check(self) -> None:
        """Refuse a cluster on which covr would fail at import, or later and worse.

        Raises:
            UserError: naming both versions and the image to use.
        """
        found = self.versions()
        wanted = next(r for r in map(Requirement, metadata.requires("covr") or ()) if r.name == "ray")
        pythons = SpecifierSet(metadata.metadata("covr")["Requires-Python"])
        if found.ray in wanted.specifier and found.python in pythons:
            return
        raise UserError(
            f"the cluster runs Ray {found.ray} on Python {found.python}; covr {metadata.version('covr')} needs Ray"
            f" {wanted.specifier} on Python {pythons}",
            self.address,
            f"start it from platform/deploy/Dockerfile, which is built on {image()}",
        )

    def job(self, submission_id: str) -> JobDetails:
        """What the server knows of a job.

        Raises:
            UserError: it has none of that id.
        """
        with self.asked():
            found = {job.submission_id: job for job in self.client.list_jobs()}
        if submission_id not in found:
            raise UserError("no such job", f"{submission_id} at {self.address}", "`covr jobs list` shows them")
        return found[submission_id]

    def jobs(self) -> list[JobDetails]:
        """The submitted jobs, the newest first."""
        with self.asked():
            found = [job for job in self.client.list_jobs() if job.submission_id]
        return sorted(found, key=lambda job: -(job.start_time or 0))

    def logs(self, submission_id: str) -> str:
        """All that the job has written so far."""
        self.job(submission_id)
        with self.asked():
            return self.client.get_job_logs(submission_id)

    def stop(self, submission_id: str) -> bool:
        """Ask a job to end; False where it had ended before. The cluster and all other jobs go on."""
        self.job(submission_id)
        with self.asked():
            return self.client.stop_job(submission_id)

    def link(self, submission_id: str) -> str:
        """The job's page in the dashboard."""
        return f"{self.address}/#/jobs/{submission_id}"


def image() -> str:
    """The public image of this Ray and this Python."""
    return f"rayproject/ray:{ray.__version__}-py{sys.version_info.major}{sys.version_info.minor}"


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
