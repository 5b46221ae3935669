"""Python, and the packages that this version of covr was made for."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from covr.doctor.finding import Finding

NAMED = ("torch", "ray", "transformers", "mlflow", "decord", "av")
"""Whose versions are worth reading in any case."""
REINSTALL = "run `make install`"
TWINS = {
    ("faiss-cpu", "faiss-gpu"): "keep one: pip uninstall -y faiss-cpu faiss-gpu, then `make install` or FAISS=gpu",
    ("decord", "decord2"): "pip uninstall -y decord decord2, then `make install`",
}
"""Distributions that own the same import name: with both installed either may answer, or neither."""


def python() -> Iterator[Finding]:
    """The interpreter against what covr's metadata asks for."""
    wanted = SpecifierSet(metadata.metadata("covr")["Requires-Python"])
    found = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    if platform.python_version() in wanted:
        yield Finding(check="Python", found=found)
    else:
        fix = f"make a new environment with a Python {wanted}"
        yield Finding(check="Python", found=found, state="fault", fix=fix)


def packages() -> Iterator[Finding]:
    """Every requirement of covr's metadata against what is installed."""
    yield from required(metadata.requires("covr") or ())
    found = {name: _installed(name) for name in NAMED}
    versions = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    yield Finding(check="packages", found=f"covr {metadata.version('covr')}, {versions}")


def required(requirements: Iterator[str] | tuple[str, ...] | list[str]) -> Iterator[Finding]:
    """One finding for each requirement, as in a package's metadata, that is not met; extras are left out."""
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = _installed(requirement.name)
        if version is None:
            yield Finding(check=requirement.name, found="not installed", state="fault", fix=REINSTALL)
        elif not requirement.specifier.contains(version, prereleases=True):
            found = f"{version}, made for {requirement.specifier}"
            yield Finding(check=requirement.name, found=found, state="fault", fix=REINSTALL)


def twins() -> Iterator[Finding]:
    """Two distributions of one import name."""
    for names, fix in TWINS.items():
        if all(map(_installed, names)):
            yield Finding(check=" + ".join(names), found="installed side by side", state="fault", fix=fix)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
