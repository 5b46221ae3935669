from __future__ import annotations

import math
from dataclasses import replace

import pytest
from torch import nn

from covr.errors import UserError
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


@pytest.mark.parametrize("wrong", [{"optimizer": "sgd"}, {"scheduler": "step"}, {"max_epochs": 0}, {"warmup": 1.0}])
def test_wrong_options_are_users_errors(wrong):
    with pytest.raises(UserError):
        replace(RECIPE, **wrong)
