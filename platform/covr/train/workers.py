"""Where and how training runs: workers, device, CPU threads, precision, and what is traded for memory or speed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from omegaconf import DictConfig

from covr.cluster.placement import Demand, require, unplaced
from covr.cluster.session import Cluster
from covr.errors import UserError

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Workers:
    """The workers of one training run and how often they look up from their work."""

    num: int
    """As many as there are to be; and where fewer do, as many as the cluster holds (`num_least`)."""
    use_gpu: bool
    threads: int
    """CPU threads, and Ray CPUs, of a worker."""
    data_cpus: int
    """Ray CPUs of the Ray Data pipeline that feeds a worker; 0 where it needs none."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """Ray resources of a worker beside its CPUs."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    gradcache_rows: int | None = None
    """GradCache: rows of a batch that a worker encodes at a time; None: all of its own."""
    gradient_checkpointing: bool = False
    """Compute the activations of each block a second time on the way back, in place of keeping them."""
    compile: bool = False
    """Compile each block with `torch.compile`."""
    deterministic: bool = False
    """Refuse operations whose result varies from run to run (GPU)."""
    max_failures: int = 2
    """Worker failures after which training is given up."""
    num_least: int | None = None
    """Begin, and go on after a node is lost, with as few as these; None: always `num`."""
    load_every_s: float | None = None
    """Seconds between samples of each worker's CPU and memory in the run; None: none."""
    checkpoint_every_s: float = 30.0
    log_every_n_steps: int = 10
    check_val_every_n_epoch: int = 1

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UserError(
                "no such precision", f"trainer.precision={self.precision}", f"choose one of {', '.join(PRECISIONS)}"
            )
        if self.gradcache_rows is not None and self.gradcache_rows < 1:
            where = f"trainer.gradcache_rows={self.gradcache_rows}"
            raise UserError("must be at least 1", where, "give 1 or more, or null")
        if self.num_least is not None and not 1 <= self.num_least <= self.num:
            where = f"trainer.devices_least={self.num_least}"
            raise UserError("not a number of workers", where, f"give 1 to trainer.devices ({self.num}), or null")
        for name in ("num", "threads", "log_every_n_steps", "check_val_every_n_epoch"):
            if getattr(self, name) < 1:
                raise UserError("must be at least 1", f"trainer.{name}={getattr(self, name)}", "give 1 or more")

    @property
    def devices(self) -> int:
        """GPUs, or CPU threads where there are none, of all workers: what device-seconds are counted in."""
        return self.num * (1 if self.use_gpu else self.threads)

    @property
    def span(self) -> int | tuple[int, int]:
        """`num`, or from `num_least` to `num`, as Ray Train takes it."""
        least = self.num if self.num_least is None else self.num_least
        return self.num if least == self.num else (least, self.num)

    @classmethod
    def from_config(cls, trainer: DictConfig, cluster: Cluster, *, data_cpus: int) -> Workers:
        """The workers that the `trainer` options ask for on this cluster, each beside its `data_cpus`.

        Raises:
            UserError: an unknown option, or a plan that the cluster cannot hold.
        """
        if trainer.accelerator not in ("auto", "cpu", "gpu"):
            raise UserError("no such accelerator", f"trainer.accelerator={trainer.accelerator}", "auto, cpu or gpu")
        use_gpu = trainer.accelerator != "cpu" and cluster.num_gpus >= (trainer.devices_least or trainer.devices)
        if trainer.accelerator == "gpu" and not use_gpu:
            raise UserError(
                f"{trainer.devices} GPUs are asked for but the cluster has {cluster.num_gpus:g}",
                "trainer.accelerator",
                "lower trainer.devices, or leave trainer.accelerator at auto",
            )
        resources = {**(trainer.resources or {}), **({"GPU": 1} if use_gpu else {})}
        least = min(trainer.devices_least or trainer.devices, trainer.devices)

        def demands(threads: int) -> list[Demand]:
            loading = [Demand(name="clip loading", each={"CPU": 1}, num=least * data_cpus)]
            each = {"CPU": threads, **resources}
            return [Demand(name="training workers", each=each, num=least), *(loading if data_cpus else [])]

        threads = trainer.threads
        if threads == "auto":
            free = cluster.num_cpus - cluster.held_cpus
            threads = max(1, int(free // max(trainer.devices, 1)) - data_cpus)
            while threads > 1 and unplaced(demands(threads), cluster.nodes):  # more than a node has
                threads -= 1
        require(demands(threads), cluster)
        return cls(
            num=trainer.devices,
            use_gpu=use_gpu,
            threads=threads,
            resources=resources,
            data_cpus=data_cpus,
            precision=trainer.precision,
            gradcache_rows=trainer.gradcache_rows,
            gradient_checkpointing=trainer.gradient_checkpointing,
            compile=trainer.compile,
            deterministic=trainer.deterministic,
            max_failures=trainer.max_failures,
            num_least=trainer.devices_least,
            load_every_s=trainer.logger.system_metrics_s,
            checkpoint_every_s=trainer.checkpoint_every_s,
            log_every_n_steps=trainer.log_every_n_steps,
            check_val_every_n_epoch=trainer.check_val_every_n_epoch,
        )


def stream_cpus(cfg: DictConfig, cluster: Cluster) -> int:
    """CPUs of the stream that feeds one training worker of stage 1: by default half of what there is for it."""
    if cfg.machine.decode_workers == "auto":
        return max(1, int((cluster.num_cpus - cluster.held_cpus) // (2 * cfg.trainer.devices)))
    return cfg.machine.decode_workers
