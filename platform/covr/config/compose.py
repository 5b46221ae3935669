"""Configuration from command-line overrides: Hydra groups, with every mistake told in one line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from covr.cluster.machine import check_machine
from covr.config.names import translate
from covr.errors import UserError

_VALUE = re.compile(r"(?!hydra\.)\w+(\.\w+)+=|seed=")
"""An override of a value; the others choose configurations, say where more of them are, or are words."""


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """The full configuration of a job (config/job.yaml) under the given Hydra overrides, CoVR's names among them.

    Raises:
        UserError: an unknown option, group or value, with the nearest known name; a value of another kind.
    """
    overrides = translate(overrides)
    values = [each for each in overrides if _VALUE.match(each)]
    try:
        cfg = _composed(overrides)
        OmegaConf.resolve(cfg)
        defaults = _defaults(tuple(each for each in overrides if each not in values)) if values else cfg
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(*_explain(error, overrides)) from None
    for value in values:
        _check_kind(value.partition("=")[0], cfg, defaults)
    check_machine(cfg.machine)
    return cfg


def _composed(overrides: Sequence[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_module("covr.config", version_base="1.3"):
        return hydra_compose("job", list(overrides))


@lru_cache
def _defaults(choices: tuple[str, ...]) -> DictConfig:
    """What values are held against: once a process, because Hydra takes as long as for the configuration itself."""
    return _composed(choices)


def _check_kind(name: str, cfg: DictConfig, defaults: DictConfig) -> None:
    """A word where a number belongs would else be found late, and told as a TypeError."""
    given, default = OmegaConf.select(cfg, name), OmegaConf.select(defaults, name)
    if given is None or not isinstance(default, (bool, int, float)):
        return
    wanted = "true or false" if isinstance(default, bool) else "a number"
    if not isinstance(given, (bool, int, float)) or isinstance(given, bool) != isinstance(default, bool):
        raise UserError("a value of another kind", f"{name}={given}", f"give {wanted}")


def _explain(error: Exception, overrides: Sequence[str]) -> tuple[str, str, str]:
    first = str(error).strip().splitlines()[0]
    unknown = re.search(r"Could not override '([\w./@-]+)'", str(error))
    if unknown:
        known = list(_keys(compose()))
        near = difflib.get_close_matches(unknown[1], known, n=3, cutoff=0.6)
        near = near or [key for key in known if key.split(".")[-1] == unknown[1].split(".")[-1]][:3]
        return "no such option", unknown[1], f"did you mean {', '.join(near)}?" if near else "see docs/options.md"
    missing = re.search(r"Could not find '([\w./-]+)'", str(error))
    if missing:
        options = re.search(r"Available options in '[^']*':\n((?:\t\S+\n?)+)", str(error))  # a blank line ends them
        names = options[1].split() if options else []
        near = difflib.get_close_matches(missing[1].rpartition("/")[2], names, n=3) or names
        fix = f"choose one of: {', '.join(near)}" if near else "see docs/options.md"
        return "no such configuration", missing[1], fix
    return first, " ".join(overrides), "write each option as name=value"


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted option name below `node`."""
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, DictConfig):
            yield from _keys(value, f"{prefix}{key}.")


def build(node: DictConfig, **extra: Any) -> Any:
    """The object that a node with a `_target_` describes.

    Raises:
        UserError: a value that the component refuses.
    """
    try:
        return instantiate(node, _convert_="all", **extra)
    except HydraException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, (ValueError, TypeError)):
            raise UserError(str(cause), str(node.get("_target_", "")), "correct the option") from None
        raise
