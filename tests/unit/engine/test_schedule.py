"""Schedules against torch's own, and the warm-up by its formulas."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch.optim import lr_scheduler

from liandan.engine import optim, schedule
from liandan.runtime.plan import Schedule, Warmup


def torchs(make, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def ours(steps: int, name: str, arguments: dict, warmup: Warmup | None = None, by_epoch: bool = False, lr: float = 1.0) -> list[float]:
    return [schedule.rate(lr, s, steps, 10, Schedule(name, arguments, by_epoch, warmup)) for s in range(steps)]


def reference(lr: float, epochs: int, by_epoch: bool, shape: Callable[[float, float, float], float]) -> list[float]:
    """The updaters of the reference: `shape(lr, progress, its end)`, counted in epochs or in iterations of ten an epoch."""
    return [shape(lr, i // 10, epochs) if by_epoch else shape(lr, i, 10 * epochs) for i in range(10 * epochs)]


def annealed(start: float, end: float, part: float) -> float:
    return end + 0.5 * (start - end) * (math.cos(math.pi * part) + 1)


def test_cosine_is_torchs() -> None:
    theirs = torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, 60, eta_min=0.05), 60)
    assert ours(60, "cosine", {"min_lr_ratio": 0.05}) == pytest.approx(theirs, abs=1e-12)
    assert ours(60, "cosine", {"min_lr": 0.05}) == pytest.approx(theirs, abs=1e-12)


def test_step_is_torchs_multistep_with_milestones_in_epochs() -> None:
    theirs = torchs(lambda o: lr_scheduler.MultiStepLR(o, [20, 45], gamma=0.3), 60)
    assert ours(60, "step", {"milestones": [2, 4.5], "gamma": 0.3}) == pytest.approx(theirs)
    assert ours(60, "step", {"milestones": [2, 4.5], "gamma": 0.3, "min_lr": 0.2}) == pytest.approx([max(0.2, lr) for lr in theirs])


def test_poly_is_torchs() -> None:
    theirs = torchs(lambda o: lr_scheduler.PolynomialLR(o, 60, power=0.9), 60)
    assert ours(60, "poly", {"power": 0.9}) == pytest.approx(theirs, abs=1e-12)
    floor = ours(60, "poly", {"power": 0.9, "min_lr": 0.2})
    assert floor == pytest.approx([0.8 * lr + 0.2 for lr in theirs])


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("anneal_strategy", ["cos", "linear"])
@pytest.mark.parametrize(("steps", "pct_start"), [(60, 0.3), (47, 0.25), (7, 0.1), (10, 0.9), (30, 0.0)])
def test_one_cycle_is_torchs(steps: int, pct_start: float, anneal_strategy: str, three_phase: bool) -> None:
    arguments = {"pct_start": pct_start, "anneal_strategy": anneal_strategy, "three_phase": three_phase, "div_factor": 10.0}
    theirs = torchs(lambda o: lr_scheduler.OneCycleLR(o, 1.0, steps, cycle_momentum=False, **arguments), steps)
    assert ours(steps, "one_cycle", arguments) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("by_epoch", [False, True])
def test_the_references_updaters(by_epoch: bool) -> None:
    def cooled(lr: float, progress: float, end: float) -> float:
        time = 2 if by_epoch else 20
        return 0.01 * 0.2 if progress > end - time else annealed(lr, 0.01, progress / (end - time))

    for name, arguments, shape in (
        ("poly", {"power": 2.0, "min_lr": 0.01}, lambda lr, p, end: (lr - 0.01) * (1 - p / end) ** 2 + 0.01),
        ("cosine", {"min_lr": 0.01}, lambda lr, p, end: annealed(lr, 0.01, p / end)),
        ("cosine", {"min_lr_ratio": 0.1}, lambda lr, p, end: annealed(lr, 0.1 * lr, p / end)),
        ("cosine_cooldown", {"min_lr": 0.01, "cool_down_ratio": 0.2, "cool_down_time": 2}, cooled),
        ("step", {"milestones": [3, 5], "gamma": 0.5}, lambda lr, p, end: lr * 0.5 ** sum(p >= m * end / 8 for m in (3, 5))),
    ):
        found = ours(80, name, arguments, by_epoch=by_epoch, lr=0.5)
        assert found == pytest.approx(reference(0.5, 8, by_epoch, shape), abs=1e-12), name


@pytest.mark.parametrize("shape", ["constant", "linear", "exponential"])
def test_the_references_warmups_are_a_factor_on_the_running_schedule(shape: str) -> None:
    width, ratio = 13, 0.2
    factors = {
        "constant": lambda i: ratio,
        "linear": lambda i: 1 - (1 - i / width) * (1 - ratio),
        "exponential": lambda i: ratio ** (1 - i / width),
    }
    regular = reference(0.5, 8, True, lambda lr, p, end: annealed(lr, 0.0, p / end))
    expected = [lr * (factors[shape](i) if i < width else 1) for i, lr in enumerate(regular)]
    assert ours(80, "cosine", {}, Warmup(width, shape, ratio, True), True, 0.5) == pytest.approx(expected, abs=1e-12)


def test_a_linear_warmup_then_cosine_is_torchs_sequence() -> None:
    def make(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        warm = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=10)
        return lr_scheduler.SequentialLR(optimizer, [warm, lr_scheduler.CosineAnnealingLR(optimizer, 50)], [10])

    assert ours(60, "cosine", {}, Warmup(10, "linear", 0.1, False)) == pytest.approx(torchs(make, 60), abs=1e-12)


def test_the_warmups_end_at_one_and_rise() -> None:
    for shape in ("linear", "exponential"):
        found = ours(40, "constant", {}, Warmup(8, shape, 1 / 8, False))
        assert found[0] == pytest.approx(1 / 8) and found[8:] == [1.0] * 32
        assert all(a < b for a, b in itertools.pairwise(found[:9]))
    assert ours(40, "constant", {}, Warmup(8, "constant", 1 / 8, False))[:9] == pytest.approx([1 / 8] * 8 + [1.0])


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize(("patience", "cooldown", "min_lr"), [(0, 0, 0.0), (1, 2, 0.01), (3, 1, 0.2)])
def test_plateau_is_torchs(mode: str, threshold_mode: str, patience: int, cooldown: int, min_lr: float) -> None:
    values = [1.0, 0.8, 0.81, 0.7995, 0.9, float("nan"), 0.5, 0.6, 0.7, 0.55, 0.5, 0.4999, 0.2, -0.3, -0.3001, -0.2, -0.1, 0.3, 0.3] * 2
    arguments = {"factor": 0.3, "patience": patience, "threshold": 0.01, "threshold_mode": threshold_mode}
    arguments |= {"cooldown": cooldown, "min_lr": min_lr}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    theirs = lr_scheduler.ReduceLROnPlateau(optimizer, mode=mode, **arguments)  # pyright: ignore[reportArgumentType]
    plan = cast(Any, SimpleNamespace(schedule=Schedule("plateau", arguments), best=("val/loss", mode), steps=100, steps_per_epoch=10))
    state: dict[str, float] = {}
    for value in values:
        theirs.step(value)
        state = json.loads(json.dumps(schedule.judged(state, 0.5, plan, value)))  # it goes through a checkpoint
        assert schedule.learning_rate(0.5, plan, 7, state) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
    assert state["scale"] < 1, "nothing was reduced: this could not fail"


def test_a_schedule_without_judgements_has_no_state() -> None:
    plan = cast(Any, SimpleNamespace(schedule=Schedule("cosine", {}), best=("val/loss", "min")))
    assert schedule.judged({}, 0.5, plan, 1.0) == {}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("cosine", {"min_lr": 0.1, "min_lr_ratio": 0.1}),
        ("one_cycle", {"pct_start": 2}),
        ("one_cycle", {"anneal_strategy": "square"}),
        ("plateau", {"factor": 1.0}),
        ("plateau", {"threshold_mode": "far"}),
    ],
)
def test_values_out_of_range_are_refused(name: str, arguments: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        ours(10, name, arguments)


def test_groups_keep_their_scale_of_the_rate() -> None:
    first, second = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [first], "lr_scale": 0.25}, {"params": [second]}], lr=0.4)
    plan = cast(Any, SimpleNamespace(schedule=Schedule("cosine", {}), steps=10, steps_per_epoch=5))
    schedule.set_rates(optimizer, plan, 5, {})
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.2])


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_every_optimizer_is_built_and_moves(name: str) -> None:
    parameter = torch.nn.Parameter(torch.ones(4))
    optimizer = optim.build(name, [parameter], {"lr": 0.1})
    (parameter**2).sum().backward()
    optimizer.step()
    assert (parameter.detach() < 1).all()
    assert not {"params", "fused", "foreach", "self"} & set(optim.signature(name).parameters)
