"""Which run made what lies under a storage root."""

from __future__ import annotations

from covr.storage import Place
from covr.tracking.journal import Journal

MADE_BY = "made_by."
"""Tags `made_by.<step>` of an evaluation: the runs of the steps before it."""


def makers(root: Place) -> dict[str, str]:
    """The run of each finished step, by the step's name, as its record tells: MLflow's id, or the journal's key."""
    steps = root / "steps"
    names = [name.removesuffix(".json") for name in steps.list() if name.endswith(".json")]
    for folder in steps.list():
        if not folder.endswith(".json"):
            inner = (steps / folder).list()
            names += [f"{folder}/{name.removesuffix('.json')}" for name in inner if name.endswith(".json")]
    records = {name: (steps / f"{name}.json").read_json() for name in names}
    return {name: record["mlflow_run"] for name, record in records.items() if record.get("state") == "done"}


def journal_of(root: Place, run: str) -> Journal | None:
    """The journal of a run by either of its ids; None where the root has none."""
    return next((journal for journal in Journal.all(root) if run in (journal.key, journal.run_id)), None)


def concerns(step: str, row: str) -> bool:
    """Whether a step's parameters decide the scores of a row."""
    group, _, trained = step.partition("/")
    return trained == row if trained else group not in ("pipeline", "index")


def prefixed(step: str, params: dict[str, str]) -> dict[str, str]:
    """Parameters under their step's name: `finetune.optimizer.lr`; `finetune.batch_size` has it already."""
    group = f"{step.partition('/')[0]}."
    return {group + key.removeprefix(group): value for key, value in params.items()}
