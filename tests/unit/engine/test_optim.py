"""Which parameters decay and how fast each learns, against timm's parameter groups."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from timm.optim._param_groups import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from liandan import models
from liandan.engine import optim
from liandan.models.depth import depths
from liandan.recipe import make_recipe

RECIPE: dict[str, Any] = {"task": "image_classification", "data": {"train": "x"}, "model": {"name": "timm/test_vit"}}


def parts(model: nn.Module, *overrides: str) -> Any:
    recipe = make_recipe(RECIPE, list(overrides))
    return cast(Any, SimpleNamespace(model=model, recipe=recipe, named=list(model.named_parameters()), depths=depths(model)))


def settings(groups: list[dict[str, Any]], model: nn.Module, decay: float) -> dict[str, tuple[float, float]]:
    """{parameter name: (factor on the rate, weight decay)}."""
    names = {id(p): n for n, p in model.named_parameters()}
    return {names[id(p)]: (g.get("lr_scale", 1.0), g.get("weight_decay", decay)) for g in groups for p in g["params"]}


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_resnet", "timm/test_efficientnet"])
def test_layer_decay_is_timms(name: str) -> None:
    model = models.build(name, num_classes=3)
    optimizer = optim.of(parts(model, "optimizer={name: adamw, lr: 1e-3, weight_decay: 0.05, layer_decay: 0.7}"))
    spared = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()  # pyright: ignore[reportCallIssue]
    theirs = param_groups_layer_decay(model, weight_decay=0.05, no_weight_decay_list=spared, layer_decay=0.7)
    ours = settings(optimizer.param_groups, model, 0.05)
    for key, (scale, decay) in settings(theirs, model, 0.05).items():
        assert ours[key] == (pytest.approx(scale), decay), key


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_resnet", "liandan/lenet5"])
def test_norms_and_biases_do_not_decay_as_in_timm(name: str) -> None:
    model = models.build(name, num_classes=3)
    spared = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()  # pyright: ignore[reportCallIssue]
    theirs = settings(param_groups_weight_decay(model, 0.05, no_weight_decay_list=spared), model, 0.05)
    optimizer = optim.of(parts(model, "optimizer={name: sgd, lr: 0.1, weight_decay: 0.05}"))
    assert settings(optimizer.param_groups, model, 0.05) == theirs
    assert 0.0 in {decay for _, decay in theirs.values()} and 0.05 in {decay for _, decay in theirs.values()}


def test_all_decay_where_the_recipe_says_so_and_one_group_is_enough_without_decay() -> None:
    model = models.build("timm/test_resnet", num_classes=3)
    assert len(optim.of(parts(model, "optimizer={name: sgd, lr: 0.1, weight_decay: 0.05, weight_decay_on: all}")).param_groups) == 1
    assert len(optim.of(parts(model, "optimizer={name: sgd, lr: 0.1}")).param_groups) == 1
    assert len(optim.of(parts(model, "optimizer={name: rprop}")).param_groups) == 1
    assert len(optim.of(parts(model, "optimizer={name: adamw}")).param_groups) == 2  # torch's own default decays


def test_what_does_not_decay_moves_by_its_gradient_alone() -> None:
    model = nn.Linear(3, 2)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = optim.build("sgd", optim.groups(list(model.named_parameters()), (), {}), {"lr": 0.1, "weight_decay": 0.5})
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.equal(model.bias, before["bias"])
    torch.testing.assert_close(model.weight.detach(), before["weight"] * 0.95)
