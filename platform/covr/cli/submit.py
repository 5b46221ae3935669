"""`covr submit`: a job on a Ray cluster, watched from here as if it ran here."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from covr.errors import UserError

Address = Annotated[
    str, typer.Option("--address", envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard, http://HEAD:8265.")
]
TokenFile = Annotated[
    Path | None, typer.Option("--token-file", help="File of the cluster's token; else RAY_AUTH_TOKEN or ~/.ray.")
]
DEFAULT = "http://127.0.0.1:8265"


def submit(
    job: Annotated[str | None, typer.Argument(help="pipeline, ingest, pretrain, embed, finetune, ...")] = None,
    overrides: Annotated[list[str] | None, typer.Argument(help="its options: data=motions out=s3://...")] = None,
    address: Address = DEFAULT,
    token_file: TokenFile = None,
    attach: Annotated[str | None, typer.Option(metavar="ID", help="Watch a job that was submitted before.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Print the id and leave.")] = False,
    cpus: Annotated[float, typer.Option(help="CPUs of the driver; above 0 it may run on any node.")] = 0.0,
    gpus: Annotated[float, typer.Option(help="GPUs of the driver.")] = 0.0,
    memory_mb: Annotated[int, typer.Option(help="Memory that the driver reserves.")] = 0,
    resource: Annotated[
        list[str] | None, typer.Option(metavar="NAME=N", help="Custom resource of the driver; may be repeated.")
    ] = None,
    retries: Annotated[int, typer.Option(help="Submissions after the first, where the driver was killed.")] = 2,
    python: Annotated[str, typer.Option(help="The interpreter on the cluster.")] = "python",
) -> None:
    """Run a job on a Ray cluster: versions are checked, code and configuration shipped, its log shown to the end.

    Exit status: the job's own. Ctrl-C leaves the job running; `covr submit --attach ID` watches it again and
    `covr jobs stop ID` ends it.

        covr submit pipeline data=motions out=s3://bucket/motions trainer.logger.uri=http://mlflow:5000
    """
    from covr.cluster.follow import Follower
    from covr.cluster.jobs import JobServer
    from covr.cluster.submit import Entrypoint, check_job
    from covr.cluster.submit import submit as hand_over

    if (job is None) == (attach is None):
        raise UserError("what is to run?", "covr submit", "name a job, or --attach ID")
    tracking = check_job(job, overrides or []) if job is not None else None
    server = JobServer(address, token_file)
    if job is not None:
        entrypoint = Entrypoint(
            num_cpus=cpus,
            num_gpus=gpus,
            memory_mb=memory_mb,
            resources=_resources(resource or []),
            python=python,
            retries=retries,
        )
        submission = hand_over(server, job, overrides or [], entrypoint)
    else:
        assert attach is not None
        submission = attach
        given = server.job(submission).metadata or {}
        if "covr.job" in given:
            tracking = check_job(given["covr.job"], json.loads(given["covr.overrides"]))
    _say(f"{submission}: {server.link(submission)}")
    if tracking is not None and tracking.startswith("http"):
        _say(f"MLflow: {tracking}")
    if detach:
        print(submission)
        return
    follower = Follower(server, write=_write, say=_say)
    try:
        raise typer.Exit(follower.follow(submission))
    except KeyboardInterrupt:
        _say(f"the job goes on; covr submit --attach {submission} watches it, covr jobs stop {submission} ends it")
        raise typer.Exit(130) from None


def _resources(given: Sequence[str]) -> dict[str, float]:
    found = {}
    for each in given:
        name, _, amount = each.partition("=")
        try:
            found[name] = float(amount)
        except ValueError:
            raise UserError("not a resource", f"--resource {each}", "write it as NAME=NUMBER") from None
    return found


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _say(line: str) -> None:
    """Beside the job's own log, which has stdout for itself."""
    print(line, file=sys.stderr, flush=True)
