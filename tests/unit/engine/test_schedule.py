"""Schedules against torch's own, and the warm-up by its formulas."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.optim import lr_scheduler

from liandan.engine import optim, schedule


def torchs(make, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def ours(steps: int, name: str, arguments: dict, warmup: tuple[int, str] | None = None) -> list[float]:
    return [schedule.factor(s, steps, 10, name, arguments, warmup) for s in range(steps)]


def test_cosine_is_torchs() -> None:
    theirs = torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, 60, eta_min=0.05), 60)
    assert ours(60, "cosine", {"final": 0.05}) == pytest.approx(theirs, abs=1e-12)


def test_step_is_torchs_multistep_with_milestones_in_epochs() -> None:
    theirs = torchs(lambda o: lr_scheduler.MultiStepLR(o, [20, 45], gamma=0.3), 60)
    assert ours(60, "step", {"milestones": [2, 4.5], "gamma": 0.3}) == pytest.approx(theirs)


def test_a_linear_warmup_then_cosine_is_torchs_sequence() -> None:
    def make(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        warm = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=10)
        return lr_scheduler.SequentialLR(optimizer, [warm, lr_scheduler.CosineAnnealingLR(optimizer, 50)], [10])

    assert ours(60, "cosine", {}, (10, "linear")) == pytest.approx(torchs(make, 60), abs=1e-12)


def test_the_warmups_end_at_one_and_rise() -> None:
    for shape in ("linear", "exponential"):
        found = ours(40, "constant", {}, (8, shape))
        assert found[0] == pytest.approx(1 / 8) and found[8:] == [1.0] * 32
        assert all(a < b for a, b in itertools.pairwise(found[:9]))
    assert ours(40, "constant", {}, (8, "exponential"))[4] == pytest.approx((1 / 8) ** 0.5)
    assert ours(40, "constant", {}, (8, "constant"))[:9] == pytest.approx([1 / 8] * 8 + [1.0])


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_every_optimizer_is_built_and_moves(name: str) -> None:
    parameter = torch.nn.Parameter(torch.ones(4))
    optimizer = optim.build(name, [parameter], {"lr": 0.1})
    (parameter**2).sum().backward()
    optimizer.step()
    assert (parameter.detach() < 1).all()
    assert not {"params", "fused", "foreach", "self"} & set(optim.signature(name).parameters)
