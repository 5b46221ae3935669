"""A submitted job watched to its end: through lost connections, a restarted head, and retries where its driver died."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from aiohttp import ClientError
from ray.dashboard.modules.job.pydantic_models import JobDetails
from ray.job_submission import JobStatus

from covr.cluster.jobs import ENDED, JobServer
from covr.cluster.submit import submit_again
from covr.errors import UserError

SILENCE_S = 60.0
"""After this long without a line the log is opened anew: a connection that a router dropped never says so."""
RETRY_S = 3.0


class Follower:
    """Prints the log of a submission, each character once, until the job has ended.

    Args:
        write: gets the log as it grows.
        say: gets what the follower has to say itself, a line at a time.
        patience_s: how long the job server may be away before it is given up.
    """

    def __init__(
        self,
        server: JobServer,
        *,
        write: Callable[[str], Any],
        say: Callable[[str], Any],
        patience_s: float = 600.0,
    ) -> None:
        self.server, self.write, self.say, self.patience_s = server, write, say, patience_s
        self._seen = 0  # characters of the present submission's log

    def follow(self, submission_id: str) -> int:
        """The exit status of the job, or of the last of its submissions where it was submitted again.

        Raises:
            UserError: there is no such job, or the server was away for longer than `patience_s`; the job goes on.
        """
        while True:
            job = self._to_its_end(submission_id)
            again = submit_again(self.server, job)
            if again is None:
                if job.status == JobStatus.FAILED and job.message:
                    self.say(job.message.strip().splitlines()[0])
                return status_of(job)
            self.say(f"{submission_id} failed ({_told(job)}); submitted again as {again}: {self.server.link(again)}")
            submission_id = again

    def _to_its_end(self, submission_id: str) -> JobDetails:
        self._seen, away_since = 0, None
        self.server.job(submission_id)  # a wrong id is an error, not a lost connection
        while True:
            try:
                job = self.server.job(submission_id)  # before the log: what an ended job wrote is all there
                asyncio.run(self._print(submission_id))
            except (
                UserError,
                ClientError,
                OSError,
                RuntimeError,
            ) as error:  # all but the first: of the log's connection
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > self.patience_s:
                    raise UserError(
                        f"the job server has been away for {self.patience_s:.0f} s; the job may go on without us",
                        self.server.address,
                        f"covr submit --attach {submission_id}",
                    ) from error
                if time.monotonic() - away_since > RETRY_S:
                    self.say(f"no connection to {self.server.address}; trying again (the job goes on)")
                time.sleep(RETRY_S)
                continue
            away_since = None
            if job.status in ENDED:
                return job

    async def _print(self, submission_id: str) -> None:
        """Pass on what the log holds behind the characters seen, until it ends or is silent."""
        log = cast(AsyncIterator[str], self.server.client.tail_job_logs(submission_id))
        place = 0
        try:
            while (chunk := await asyncio.wait_for(anext(log, None), SILENCE_S)) is not None:
                if place + len(chunk) > self._seen:
                    self.write(chunk[max(0, self._seen - place) :])
                    self._seen = place + len(chunk)
                place += len(chunk)
        except TimeoutError:
            return
        finally:
            await cast(Any, log).aclose()


def status_of(job: JobDetails) -> int:
    """A shell's exit status for an ended job: the driver's own, 128 + N where signal N ended it."""
    if job.status == JobStatus.SUCCEEDED:
        return 0
    code = job.driver_exit_code
    if not code:  # the driver never began, or nobody saw it end
        return 130 if job.status == JobStatus.STOPPED else 1
    return code if code > 0 else 128 - code


def _told(job: JobDetails) -> str:
    return "its driver did not end by itself" if job.driver_exit_code is None else f"exit status {status_of(job)}"
