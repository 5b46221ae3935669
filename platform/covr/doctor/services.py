"""Ray and its CPU plan, and MLflow: whether they answer, and whether the work fits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from covr.cluster.session import Cluster, connect, local_cpus, named_address, shutdown
from covr.doctor.finding import Finding
from covr.embed.plan import plan
from covr.storage import Place
from covr.tracking import Journal, Tracking
from covr.train.workers import Workers, stream_cpus


def ray(cfg: DictConfig) -> Iterator[Finding]:
    """Join the cluster where one is named; then see whether the plan of each step fits on it.

    Raises:
        UserError: no cluster answers, or a plan does not fit.
    """
    address = named_address(cfg.machine)
    if address is not None:
        cluster = connect(cfg.machine)
        shutdown()
        yield from joined(cfg, cluster, address)
    else:
        import torch

        cluster = Cluster(num_cpus=local_cpus(cfg.machine), num_gpus=torch.cuda.device_count())
        found = f"none is named; a job starts its own with {cluster.num_cpus:g} CPUs, {cluster.num_gpus:g} GPUs"
        yield Finding(check="Ray", found=found)
        yield Finding(check="CPU plan", found=_plan(cfg, cluster))


def joined(cfg: DictConfig, cluster: Cluster, address: str) -> Iterator[Finding]:
    """The same for a cluster that this process has joined, and stays in.

    Raises:
        UserError: a plan does not fit.
    """
    yield Finding(check="Ray", found=f"{address} answers: {cluster.num_cpus:g} CPUs, {cluster.num_gpus:g} GPUs")
    yield Finding(check="CPU plan", found=_plan(cfg, cluster))


def _plan(cfg: DictConfig, cluster: Cluster) -> str:
    embed = plan(cfg.machine, cluster, cfg.trainer.accelerator)
    stream = stream_cpus(cfg, cluster)
    train = Workers.from_config(cfg.trainer, cluster, data_cpus=stream)
    device = "GPU" if train.use_gpu else "CPU"
    return (
        f"embed: {embed.decode_workers} decoding, {embed.encode_cpus:g} CPUs encoding; "
        f"train: {train.num} on {device}, each with {train.threads} + {stream} CPUs (steps + clips)"
    )


def mlflow(cfg: DictConfig) -> Iterator[Finding]:
    """Ask the tracking server for its experiments; say what is still to be sent to it."""
    root = Place(cfg.out)
    tracking = Tracking.from_config(cfg.trainer.logger, root)
    path = Path(tracking.uri.removeprefix("sqlite:///"))
    if tracking.uri.startswith("sqlite:///") and not path.exists():
        yield Finding(check="MLflow", found=f"{tracking.uri}: the first job makes it")
    else:
        yield _answers(tracking)
    waiting = sum(bool(journal.unsent()[0]) for journal in Journal.all(root))
    if waiting:
        fix = "sent by the next job that finds the server"
        yield Finding(check="MLflow journal", found=f"{waiting} runs not sent yet", state="advice", fix=fix)


def _answers(tracking: Tracking) -> Finding:
    try:
        tracking.server().client.search_experiments(max_results=1)
    except Exception as error:  # whatever a server's client raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        fix = "start it, or correct trainer.logger.uri; jobs run meanwhile and keep a journal"
        return Finding(check="MLflow", found=f"{tracking.uri}: {reason}", state="fault", fix=fix)
    return Finding(check="MLflow", found=f"{tracking.uri} answers")
