"""Every configuration instantiates; every mistake is one line that says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from omegaconf import DictConfig

import covr.config
from covr.config.compose import build, compose
from covr.errors import UserError

ROOT = Path(covr.config.__file__).parent
CONFIGURATIONS = sorted(
    f"{path.parent.relative_to(ROOT)}={path.stem}".replace("model/motions=", "model=motions/")  # rows, not a group
    for path in ROOT.rglob("*.yaml")
    if path.parent != ROOT
)


def described_components(node: DictConfig):
    """Every node that describes a component."""
    if "_target_" in node:
        yield node
    for value in node.values():
        if isinstance(value, DictConfig):
            yield from described_components(value)


@pytest.mark.parametrize("choice", CONFIGURATIONS)
def test_every_configuration_instantiates(choice):
    overrides = [choice] if not choice.startswith("data=folder") else [choice, "data.root=."]
    for node in described_components(compose(overrides)):
        assert build(node) is not None


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.sise=tiny", "data.size"),
        ("model.optimizer.lrr=1", "model.optimizer.lr"),
        ("data=motion", "motions"),
        ("model=tf-covr-bse-tiny", "tf-covr-base-tiny"),
        ("nonsense", "name=value"),
        ("trainer.devices=two", "trainer.devices=two]: give a number"),
        ("seed=x", "seed=x]: give a number"),
        ("trainer.compile=1", "trainer.compile=1]: give true or false"),
        ("model.finetune.max_epochs=true", "give a number"),
    ],
)
def test_a_mistake_is_one_line_with_the_remedy(override, says):
    with pytest.raises(UserError) as caught:
        compose([override])
    line = str(caught.value)
    assert "\n" not in line
    assert says in line


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("machine.num_cpus=0", "greater than or equal to 1 or 'auto'"),
        ("machine.num_cpus=all", "a valid integer or 'auto'"),
        ("machine.decode_workers=0.5", "machine.decode_workers=0.5"),
        ("machine.object_store_mb=1", "greater than or equal to 80"),
        ("machine.batch_clips=0", "machine.batch_clips=0"),
        ("machine.max_bad_fraction=10", "less than or equal to 1"),
    ],
)
def test_a_machine_that_cannot_be_is_refused_before_ray_starts(override, says):
    """Ray crashed with none, and waited for ever."""
    with pytest.raises(UserError, match=re.escape(says)):
        compose([override])


def test_the_choices_told_are_configurations_and_the_near_ones_first():
    with pytest.raises(UserError, match=r"data/webvid_covr\]: choose one of: webvid-covr, dense-webvid-covr$"):
        compose(["data=webvid_covr"])
    with pytest.raises(UserError, match=r"choose one of: cc-coir, [\w-]+, .*webvid-covr$"):
        compose(["data=zzz"])


def test_a_model_of_the_users_own_is_found_where_they_say_beside_values(tmp_path):
    """Values are held against the defaults, which looked only among the configurations of the package."""
    (tmp_path / "model").mkdir()
    known = Path(covr.config.__file__).parent / "model" / "tf-covr-base-tiny.yaml"
    (tmp_path / "model" / "mine.yaml").write_text(known.read_text() + "\nhead: 7\n")
    where = f"hydra.searchpath=[file://{tmp_path}]"
    assert compose([where, "model=mine", "seed=3"]).model.head == 7
    with pytest.raises(UserError, match=r"model/theirs\]: choose one of: .*mine"):
        compose([where, "model=theirs"])
    with pytest.raises(UserError, match="model/mine"):
        compose(["model=mine"])


def test_numbers_of_either_kind_and_null_are_numbers():
    cfg = compose(["trainer.checkpoint_every_s=0.5", "model.optimizer.lr=1", "model.pretrain.clip_grad=null"])
    assert (cfg.trainer.checkpoint_every_s, cfg.model.optimizer.lr, cfg.model.pretrain.clip_grad) == (0.5, 1, None)


def test_a_refused_value_is_a_user_error():
    with pytest.raises(UserError, match="size"):
        build(compose(["data.size=enormous"]).data)
