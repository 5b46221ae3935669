"""One job: its configuration, storage root and tracking; each of its steps done once per fingerprint.

`jobs/*.py` hand a function of `Job` to `main`. A step killed at any moment is run again by the same command:
its record still says "running", so the work resumes in the same MLflow run; a step whose record says "done"
for the same fingerprint is not run again.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from covr.cluster.session import tags as cluster_tags
from covr.config.compose import compose
from covr.errors import UserError
from covr.report.console import say
from covr.storage import Place, TableStore
from covr.storage.place import fingerprint
from covr.tracking import RunLogger, Tracking


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a job function gets: configuration, storage root, tracking, the MLflow run it belongs to."""

    cfg: DictConfig
    root: Place
    tracking: Tracking
    parent_run: str | None = None
    overrides: tuple[str, ...] = ()
    """What `cfg` was composed from."""

    @classmethod
    def from_overrides(cls, overrides: Sequence[str]) -> Job:
        cfg = compose(overrides)
        root = Place(cfg.out)
        tracking = Tracking.from_config(cfg.trainer.logger, root)
        return cls(cfg=cfg, root=root, tracking=tracking, overrides=tuple(overrides))

    @contextmanager
    def group(self, name: str) -> Iterator[Job]:
        """The same job as a child of an MLflow run that stands for the whole; one run per configuration."""
        record_place = self.root / "steps" / f"{name}.json"
        record = record_place.read_json() if record_place.exists() else {}
        settings = OmegaConf.to_container(self.cfg, resolve=True)
        mark = fingerprint(name, settings)
        known = record.get("mlflow_run") if record.get("fingerprint") == mark else None
        run = self.tracking.start(
            name,
            run_id=known,
            parent_run=self.parent_run,
            params=_flat(settings),
            tags={"step": mark, **cluster_tags()},
        )
        record_place.write_json({"fingerprint": mark, "state": "running", "mlflow_run": run.run_id})
        try:
            yield replace(self, parent_run=run.run_id)
        except BaseException:
            run.finish("FAILED")
            raise
        record_place.write_json({"fingerprint": mark, "state": "done", "mlflow_run": run.run_id})
        run.finish("FINISHED")

    def step(
        self,
        name: str,
        *,
        settings: Any,
        inputs: Mapping[str, str],
        outputs: Sequence[Place],
        work: Callable[[RunLogger], Mapping[str, Any]],
        tags: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Run `work` unless the same step on the same inputs is done; return its JSON result.

        Args:
            name: unique under the root, e.g. `finetune/composed`; `work`'s MLflow run gets this name.
            settings: the configuration that decides the result (a DictConfig node or JSON value).
            inputs: fingerprints of what it reads, by name.
            outputs: what must exist for a finished step to count.
            work: does the step and returns a JSON result; `fingerprint` is added to it.
            tags: MLflow tags beside the inputs' fingerprints.
        """
        if isinstance(settings, DictConfig):
            settings = OmegaConf.to_container(settings, resolve=True)
        mark = fingerprint(name, settings, dict(inputs))
        record_place = self.root / "steps" / f"{name}.json"
        record = record_place.read_json() if record_place.exists() else {}
        same = record.get("fingerprint") == mark
        if same and record["state"] == "done" and all(place.exists() for place in outputs):
            say(f"[dim]{name}: up to date[/dim]")
            return record["result"]
        run = self.tracking.start(
            name,
            run_id=record.get("mlflow_run") if same else None,
            parent_run=self.parent_run,
            params=_flat(settings),
            tags={
                **{f"input.{key}": value for key, value in inputs.items()},
                "step": mark,
                **(tags or {}),
                **cluster_tags(),
            },
        )
        say(f"[bold]{name}[/bold]")
        record = {"fingerprint": mark, "state": "running", "mlflow_run": run.run_id}
        record_place.write_json(record)
        start = time.monotonic()
        try:
            result = {**work(run), "fingerprint": mark}
            self._log_dataset(run, name)
            if found := cluster_tags():  # the work may have connected
                run.set_tags(found)
        except BaseException:
            run.finish("FAILED")
            raise
        seconds = round(time.monotonic() - start, 3)
        record_place.write_json({**record, "state": "done", "result": result, "seconds": seconds})
        run.finish("FINISHED")
        say(f"{name}: done in {seconds:.1f} s")
        return result

    def _log_dataset(self, run: RunLogger, step: str) -> None:
        """Link the run with the tables of the data set, which all steps after ingest read, and ingest has written."""
        manifests = {name: TableStore(self.root / "tables" / name, name).manifest() for name in ("clips", "triplets")}
        written = {name: manifest for name, manifest in manifests.items() if manifest is not None}
        if written:
            run.log_dataset(
                self.cfg.data.name,
                digest=fingerprint([manifest["fingerprint"] for manifest in written.values()]),
                source=str(self.root / "tables"),
                rows={name: manifest["rows"] for name, manifest in written.items()},
                context=step.partition("/")[0],
            )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as short dotted MLflow parameters; a component goes by its class: `loss: HardNegativeNCE`."""
    if isinstance(value, Mapping):
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}{key}.").items()}
    if prefix.endswith("._target_."):
        return {prefix.removesuffix("._target_."): str(value).rpartition(".")[2]}
    return {prefix.rstrip(".") or "value": value}


def main(function: Callable[[Job], Any], *defaults: str) -> None:
    """Entry point of a job script: overrides from the command line, one clear line for a user's error.

    Args:
        defaults: overrides of this job, which those of the command line override.
    """
    out = ""
    try:
        job = Job.from_overrides([*defaults, *sys.argv[1:]])
        out = str(job.root)
        function(job)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        if not _disk_full(error):
            raise
        told = UserError("no space left on the disk", out, "make room; the same command goes on from here")
        print(f"error: {told}", file=sys.stderr)
        raise SystemExit(2) from None


def _disk_full(error: Exception) -> bool:
    """Whether a full disk ended the job; an error of a Ray worker arrives as text."""
    return any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT))
