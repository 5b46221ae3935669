"""The search as a job: trials of stage 2 over one stage 1, the worse ones ended early (ASHA), the best one as a YAML.

Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020. The validation split judges.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import partial
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from covr.cluster.session import connect
from covr.config.compose import compose
from covr.errors import UserError
from covr.evaluate.metrics import PRIMARY
from covr.job import Job
from covr.report.console import say
from covr.storage import Place
from covr.storage.overlay import Overlay
from covr.storage.place import fingerprint
from covr.tracking import Tracking
from covr.train.finetune import finetune
from covr.train.leftovers import free_leftovers

SHARED = ("tables", "media", "frames", "features", "text_states", "pretrain")
BEST = "model/best.yaml"
WATCH_S = 60.0
"""For what a trial that was ended may leave: its actors die one after the other."""
ENDED = "ended"
"""Reported with a trial's last number: nobody ended it early."""


def search(job: Job) -> dict[str, Any]:
    """Try `cfg.tune.trials` draws of `cfg.tune.space` around the configured model; write tune/model/best.yaml.

    Reads what jobs/embed.py left. Killed and run again, finished trials stay as they are and cut ones go on from their
    last checkpoint, as do those that die (`trainer.max_failures`). Every trial is an MLflow run `finetune/trial-<id>`.

    Returns:
        {trial, params, mAP@10, trials, to_the_end}, also in tune/tune.json. The best is of those trained to the end.

    Raises:
        UserError: a space that is none, a root that is not local, or no trial that ended.
    """
    place = (job.root / "tune").local().resolve()
    place.mkdir(parents=True, exist_ok=True)
    settings = OmegaConf.to_container(job.cfg.tune, resolve=True)
    name = fingerprint(settings, OmegaConf.to_container(job.cfg.model, resolve=True), job.cfg.seed)[:12]
    cluster = connect(job.cfg.machine)
    with job.group("tune") as child:
        trial = tune.with_resources(
            partial(run_trial, overrides=job.overrides, out=str(job.root.local().resolve()), parent=child.parent_run),
            {"CPU": 0, "memory": 1 << 20},  # the trial waits; its training worker holds the CPU
        )
        found = _tuner(job, trial, str(place / "ray"), name, int(cluster.num_gpus or cluster.num_cpus)).fit()
        tried = [(found[place].metrics or {}, found[place].config or {}) for place in range(len(found))]
        # One that was ended early cannot be had again: the rate falls towards the configured last epoch.
        whole = [each for each in tried if each[0].get(ENDED)]
        if not whole:
            raise UserError("no trial ended", str(place / "ray" / name), "read the errors above, and run it again")
        metrics, params = max(whole, key=lambda each: each[0][PRIMARY])
        model = OmegaConf.to_container(configured(job.overrides, params).model, resolve=True)
        (job.root / "tune" / BEST).write_bytes(_page(job, model, metrics[PRIMARY]).encode())
        _finish_stopped(child)
    result = {
        "trial": trial_name(params),
        "params": params,
        PRIMARY: metrics[PRIMARY],
        "trials": len(tried),
        "to_the_end": len(whole),
    }
    (job.root / "tune" / "tune.json").write_json(result)
    say(f"best of {len(tried)} trials, {len(whole)} of them trained to the end: {PRIMARY} {metrics[PRIMARY]:.2f} (val)")
    say(f"  {job.root / 'tune' / BEST}")
    return result


def run_trial(params: Mapping[str, Any], *, overrides: tuple[str, ...], out: str, parent: str | None) -> None:
    """One trial, in a process of its own: stage 2 with these options, each validation reported."""
    cfg, root = configured(overrides, params), Place(out)
    home = Overlay(root / "tune" / "trials" / trial_name(params), {name: root / name for name in SHARED})
    tracking = Tracking.from_config(cfg.trainer.logger, root)
    job = Job(cfg=cfg, root=home, tracking=tracking, parent_run=parent, overrides=overrides)
    result = finetune(job, trial_name(params), watch=tune.report)[trial_name(params)]
    tune.report({PRIMARY: result[PRIMARY], "epoch": cfg.model.finetune.max_epochs, ENDED: True})


def configured(overrides: tuple[str, ...], params: Mapping[str, Any]) -> DictConfig:
    """The job's configuration under a trial's options: one retriever, one CPU."""
    drawn = [f"{option}={'null' if value is None else value}" for option, value in params.items()]
    return compose(["trainer.threads=1", *overrides, "rows=[composed]", *drawn])


def trial_name(params: Mapping[str, Any]) -> str:
    """The same draw has the same name, so that a trial that was cut is found again."""
    return f"trial-{fingerprint(dict(params))[:10]}"


def space(node: Mapping[str, Any]) -> dict[str, Any]:
    """Options and what is drawn for them.

    Raises:
        UserError: neither choices nor bounds.
    """
    found: dict[str, Any] = {}
    for option, drawn in node.items():
        match drawn:
            case {"choices": [*choices]}:
                found[option] = tune.choice(list(choices))
            case {"low": low, "high": high, "log": True}:
                found[option] = tune.loguniform(low, high)
            case {"low": low, "high": high}:
                found[option] = tune.uniform(low, high)
            case _:
                fix = "give {choices: [...]}, or {low: ..., high: ...} and log: true for a factor"
                raise UserError("nothing can be drawn from this", f"tune.space.{option}", fix)
    return found


def _tuner(job: Job, trial: Any, storage: str, name: str, slots: int) -> tune.Tuner:
    """A new search, or the one that was begun with the same settings."""
    drawn = space(OmegaConf.to_container(job.cfg.tune.space, resolve=True))  # type: ignore[arg-type]
    if tune.Tuner.can_restore(f"{storage}/{name}"):
        say("[dim]tune: going on with the trials that were begun[/dim]")
        return tune.Tuner.restore(f"{storage}/{name}", trial, resume_errored=True, param_space=drawn)
    return tune.Tuner(
        trial,
        param_space=drawn,
        tune_config=tune.TuneConfig(
            metric=PRIMARY,
            mode="max",
            num_samples=job.cfg.tune.trials,
            search_alg=BasicVariantGenerator(random_state=job.cfg.seed, max_concurrent=max(1, slots)),
            scheduler=ASHAScheduler(
                time_attr="epoch",
                max_t=job.cfg.model.finetune.max_epochs + 1,  # at max_t a trial is killed, before it has saved
                grace_period=min(job.cfg.tune.grace_epochs, job.cfg.model.finetune.max_epochs),
                reduction_factor=job.cfg.tune.reduction,
            ),
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=storage,
            verbose=0,
            callbacks=[_Watch()],
            failure_config=tune.FailureConfig(max_failures=job.cfg.trainer.max_failures),
        ),
    )


class _Watch(tune.Callback):
    """A line for each validation of a trial; and what a trial held that was ended early, or died, is freed."""

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if not result.get(ENDED):  # it repeats the last one
            say(f"  {trial_name(trial.config)}  epoch {result['epoch']}  {PRIMARY} {result[PRIMARY]:.2f}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if not trial.last_result.get(ENDED):
            self._free()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        say(f"  {trial_name(trial.config)} failed; it goes on from its last checkpoint")
        self._free()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._free()

    def _free(self) -> None:
        threading.Thread(target=free_leftovers, args=(WATCH_S,), daemon=True).start()


def _page(job: Job, model: Any, value: float) -> str:
    searched = f"# The best of jobs/tune.py: {PRIMARY} {value:.4f} on the validation split, seed {job.cfg.seed}.\n"
    used = f"# Use: 'hydra.searchpath=[file://{job.root / 'tune'}]' model=best\n"
    return searched + used + yaml.safe_dump(model, sort_keys=False)


def _finish_stopped(job: Job) -> None:
    """Trials that ASHA ended could not end their MLflow runs themselves."""
    trials = job.root / "tune" / "trials"
    for name in trials.list():
        record = trials / name / "steps" / "finetune" / f"{name}.json"
        if record.exists() and (state := record.read_json())["state"] == "running":
            run = job.tracking.start(f"finetune/{name}", run_id=state["mlflow_run"], parent_run=job.parent_run)
            run.finish("KILLED")
