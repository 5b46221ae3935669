"""The code tag names the commit, or the package's version where there is none."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import version

import pytest

from covr.tracking import version as module


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "covr"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.setattr(module, "PACKAGE", folder)
    module.code_version.cache_clear()
    yield folder
    module.code_version.cache_clear()


def git(folder, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit_and_changes(package):
    git(package.parent, "init", "-q")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-qm", "first")
    commit = git(package, "rev-parse", "HEAD").strip()
    assert module.code_version() == commit
    (package / "__init__.py").write_text("changed")
    module.code_version.cache_clear()
    assert module.code_version() == f"{commit}-dirty"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_installed_inside_somebody_elses_checkout(package):
    git(package.parent, "init", "-q")
    git(package.parent, "commit", "-qm", "theirs", "--allow-empty")
    assert module.code_version() == version("covr")


def test_no_checkout(package):
    assert module.code_version() == version("covr")
