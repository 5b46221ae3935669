from __future__ import annotations

import math
from dataclasses import replace

import pytest
from torch import nn

from covr.errors import UserError
from covr.models import AIM, AIMConfig
from covr.train.recipe import Recipe

RECIPE = Recipe(max_epochs=2, batch_size=4, lr=1.0, weight_decay=0.1, warmup=0.25, clip_grad=None, seed=0)


def test_rises_then_falls_to_zero():
    rates = [RECIPE.learning_rate(step, 40) for step in range(41)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[40] == pytest.approx(0.0, abs=1e-12)
    assert rates[25] == pytest.approx(0.5 * (1 + math.cos(math.pi * 15 / 30)))


def test_constant_after_warm_up():
    constant = replace(RECIPE, scheduler="constant")
    assert [constant.learning_rate(step, 40) for step in (10, 20, 39)] == [1.0, 1.0, 1.0]


def test_once_an_epoch_as_published():
    published = replace(RECIPE, max_epochs=5, warmup=0.0, unit="epoch")
    expected = [0.5 * (1 + math.cos(math.pi * epoch / 5)) for epoch in range(5) for _ in range(8)]
    assert [published.learning_rate(step, 40) for step in range(40)] == pytest.approx(expected)


def test_step_schedule_multiplies_after_each_epoch():
    stepwise = replace(RECIPE, max_epochs=4, warmup=0.0, scheduler="step", factor=0.5)
    assert [stepwise.learning_rate(step, 40) for step in (0, 9, 10, 39)] == [1.0, 1.0, 0.5, 0.125]


def test_only_matrices_decay_and_only_what_trains_is_optimised():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))
    model[2].requires_grad_(False)
    optimizer = RECIPE.build_optimizer(model.named_parameters())
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {
        id(model[0].weight): 0.1,
        id(model[0].bias): 0.0,
        id(model[1].weight): 0.0,
        id(model[1].bias): 0.0,
    }


class Stage1(nn.Module):
    """Parts named as an AIM classifier's."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = AIM(AIMConfig(image_size=16, num_frames=2, dim=8, depth=1, num_heads=2))
        self.head = nn.Linear(8, 3)


def decaying(recipe: Recipe, model: nn.Module) -> set[str]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = recipe.build_optimizer(model.named_parameters()).param_groups
    return {names[id(p)] for group in groups if group["weight_decay"] for p in group["params"]}


def test_what_decays_as_published():
    model = Stage1()
    everything = {name for name, _ in model.named_parameters()}
    assert decaying(replace(RECIPE, decay="all"), model) == everything
    spared = everything - decaying(replace(RECIPE, decay="aim"), model)
    block = "encoder.vit.blocks.0"
    norms = ("encoder.vit.norm_pre", f"{block}.norm1", f"{block}.norm2", "encoder.vit.norm")
    vectors = {f"{norm}.{part}" for norm in norms for part in ("weight", "bias")}
    assert spared == {"encoder.vit.cls_token", "encoder.vit.pos_embed", *vectors}


def test_each_group_has_its_rate_and_the_longest_name_counts():
    model = Stage1()
    recipe = replace(RECIPE, lr_scale={"encoder": 0.1, "encoder.vit.norm": 0.5})
    groups = recipe.build_optimizer(model.named_parameters()).param_groups
    scales = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    assert scales[id(model.head.weight)] == 1.0
    assert scales[id(model.encoder.temporal_embedding)] == 0.1
    assert scales[id(model.encoder.vit.norm.weight)] == 0.5
    assert scales[id(model.encoder.vit.norm_pre.weight)] == 0.1, "a beginning ends where a name ends"


def test_a_rate_for_nothing_is_a_users_error():
    recipe = replace(RECIPE, lr_scale={"text": 0.1})
    with pytest.raises(
        UserError, match=r"nothing that is trained begins with text \[lr_scale\]: there are encoder, head"
    ):
        recipe.build_optimizer(Stage1().named_parameters())


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "sgd"},
        {"scheduler": "linear"},
        {"decay": "none"},
        {"unit": "day"},
        {"ema": 1.0},
        {"lr_scale": {"a": -1.0}},
        {"max_epochs": 0},
        {"warmup": 1.0},
    ],
)
def test_wrong_options_are_users_errors(wrong):
    with pytest.raises(UserError):
        replace(RECIPE, **wrong)
