"""Which rows a data set's table has, and each row's configuration.

A row is a YAML: `config/model/motions/<row>.yaml` on the bundled data set, where every row starts from the shipped tiny
encoder, and `config/model/<row>.yaml` with published weights everywhere else. Two names, `ecde` and the two of TF-CoVR,
are in both; the data set decides which is meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from covr import config
from covr.config.compose import compose
from covr.errors import UserError

FROM_ONE_START = (
    *("text-only", "video-only", "average", "slerp", "frame-mlp-1", "frame-mlp-12"),
    *("cross-attention", "bse", "ecde", "covr2", "filter-rerank"),
    *("tf-covr-base-stage2-only", "tf-covr-base", "ours"),
)
"""On `motions`."""
ABLATION = (
    *("mlp", "mlp-unmasked", "mlp-published-weights", "mlp-uncentred"),
    *("ours-without-expansion", "ours-without-head", "ours-narrow", "ours-batch-128"),
)
"""On `motions`: one choice of the training changed at a time."""
PUBLISHED = (
    *("blip2-text", "blip2-video", "clip-mlp-1", "clip-mlp-15", "blip2-mlp-1", "blip2-mlp-15"),
    *("blip-covr", "ecde", "bse-covr", "covr2", "languagebind-avg", "tfr-cvr"),
    *("tf-covr-base-stage2-only", "tf-covr-base"),
)
"""With published weights."""
WEIGHTS = (
    *("model.ckpt.path", "model.ckpt.video", "model.video.weights", "model.video.files"),
    *("model.text.weights", "model.rerank.retriever"),
)
"""Options that name files; where one lacks, the row says so and the table goes on."""
_OWN = ("data", "model", "rows", "seed", "seeds", "out", "table.weights")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of the table, as it is asked for."""

    name: str
    model: str
    """The choice of the group `model`."""

    def configure(self, overrides: Sequence[str], weights: Mapping[str, str]) -> DictConfig:
        """The job's configuration for this row.

        Args:
            overrides: of the command line; those of the table itself do not concern a row, and those of `model` none
                of the rows with published weights, which are what they are.
            weights: option -> file.
        """
        kept = [override for override in overrides if override.lstrip("+").partition("=")[0] not in _OWN]
        if not self.model.startswith("motions/"):
            kept = [override for override in kept if not override.lstrip("+").startswith("model")]
        data = [override for override in overrides if override.startswith("data=")]
        files = [f"{option}={file}" for option, file in weights.items()]
        choice = [f"model={self.model}", "rows=[composed]", "machine.features=[pooled,frames]"]
        return compose([*data, *choice, *kept, *files])


def rows_of(data: str, asked: str | Sequence[str]) -> list[Row]:
    """The rows that are asked for, `all` being those of the data set.

    Raises:
        UserError: a name that no row has.
    """
    own = (*FROM_ONE_START[:-1], *ABLATION, FROM_ONE_START[-1]) if data == "motions" else ()
    known = (*own, *(row for row in PUBLISHED if row not in own))
    names = known if asked == "all" else asked
    if isinstance(names, str):
        raise UserError("rows is a list", f"rows={names}", f"write rows=[{names}]")
    for name in names:
        if name not in known:
            raise UserError(f"no row {name!r}", "rows", f"choose from {', '.join(known)}")
    folder = Path(config.__file__).parent / "model" / "motions"
    return [
        Row(name=name, model=f"motions/{name}" if name in own and (folder / f"{name}.yaml").exists() else name)
        for name in names
    ]


def weights_of(cfg: DictConfig, row: str) -> dict[str, str]:
    """The files that `table.weights` gives a row: one, for `model.ckpt.path`, or several by their options."""
    given = (cfg.table.weights or {}).get(row)
    if given is None:
        return {}
    return {WEIGHTS[0]: given} if isinstance(given, str) else {str(key): str(file) for key, file in given.items()}


def missing_weights(error: UserError, row: str) -> str | None:
    """What a row says whose weights are not there; None where the error is another."""
    option = error.where.partition("=")[0]
    if option not in WEIGHTS:
        return None
    given = "FILE" if option == WEIGHTS[0] else f"{{{option}: FILE}}"
    return f"weights not found: give {option}=... (of this row: 'table.weights={{{row}: {given}}}')"


def needed_rows(cfg: DictConfig) -> list[str]:
    """The rows that have to be trained before: what the model names as `row:NAME`."""
    found = [cfg.model.ckpt.path, OmegaConf.select(cfg, "model.rerank.retriever")]
    return [path.removeprefix("row:") for path in dict.fromkeys(found) if path and path.startswith("row:")]
