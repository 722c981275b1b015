"""Converted schedules against the formulas of the script that Python configs were written for, at every step of a run."""

from __future__ import annotations

import math
from typing import Any

import pytest

from liandan.engine import schedule
from liandan.recipe.document import Document
from tests.unit.recipe.python_configs import converted

EPOCHS, STEPS = 100, 7  # of the run; of an epoch
BASE = 0.1 * 4 / 256


def regular(kind: str, progress: int, end: int, step: Any = (), gamma: float = 0.1, power: float = 1.0, **a: float) -> float:
    """The learning rate without warm-up: `progress` and `end` count epochs, or steps with by_epoch=False."""
    low = a.get("min_lr", 0.0) or BASE * a.get("min_lr_ratio", 0.0)
    if kind == "StepLrUpdater":
        passed = progress // step if isinstance(step, int) else sum(progress >= s for s in step)
        return max(low, BASE * gamma**passed)
    if kind == "PolyLrUpdater":
        return low + (BASE - low) * (1 - progress / end) ** power
    cool = a.get("cool_down_time", 10) if kind == "CosineAnnealingCooldownLrUpdater" else 0
    if cool and progress > end - cool:
        return low * a.get("cool_down_ratio", 0.1)
    return low + (BASE - low) * (1 + math.cos(math.pi * progress / (end - cool))) / 2


def reference(kind: str, it: int, by_epoch: bool = True, warmup: str | None = None, warmup_iters: int = 0, warmup_ratio: float = 0.1,
              warmup_by_epoch: bool = False, **own: Any) -> float:  # fmt: skip
    """The learning rate of iteration `it`: a warm-up is a factor on what the schedule says at that point."""
    lr = regular(kind, it // STEPS if by_epoch else it, EPOCHS if by_epoch else EPOCHS * STEPS, **own)
    length = warmup_iters * (STEPS if warmup_by_epoch else 1)
    if warmup is None or it >= length:
        return lr
    factors = {"constant": warmup_ratio, "linear": 1 - (1 - it / length) * (1 - warmup_ratio), "exp": warmup_ratio ** (1 - it / length)}
    return lr * factors[warmup]


CASES: list[tuple[str, dict[str, Any]]] = [
    ("StepLrUpdater", {"step": [30, 60, 90]}),
    ("StepLrUpdater", {"step": 9, "gamma": 0.5, "min_lr": 1e-4}),
    ("StepLrUpdater", {"step": [2, 4], "warmup": "constant", "warmup_iters": 3, "warmup_by_epoch": True}),
    ("PolyLrUpdater", {"power": 2, "min_lr": 1e-5}),
    ("PolyLrUpdater", {"by_epoch": False, "warmup": "constant", "warmup_iters": 50}),
    ("CosineAnnealingLrUpdater", {"min_lr": 0}),
    ("CosineAnnealingLrUpdater", {"min_lr_ratio": 0.01, "by_epoch": False, "warmup": "linear", "warmup_ratio": 1e-3, "warmup_iters": 20}),
    ("CosineAnnealingLrUpdater", {"min_lr": 1e-6, "warmup": "exp", "warmup_iters": 4, "warmup_by_epoch": True}),
    (
        "CosineAnnealingCooldownLrUpdater",
        {"min_lr": 1e-5, "warmup": "linear", "warmup_iters": 10, "warmup_ratio": 1e-6, "warmup_by_epoch": True},
    ),
    ("CosineAnnealingCooldownLrUpdater", {"min_lr_ratio": 0.1, "cool_down_time": 3, "cool_down_ratio": 0.5}),
]


@pytest.mark.parametrize(("kind", "arguments"), CASES)
def test_a_converted_schedule_is_the_reference_at_every_step(kind: str, arguments: dict[str, Any]) -> None:
    from liandan.recipe import make_recipe
    from liandan.runtime.plan import make_schedule

    words = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    made = converted(lr_config=f"dict(type='{kind}', {words})")
    assert not made.faults
    recipe = make_recipe(Document.of(made.root).values)
    assert recipe.optimizer.arguments["lr"] == BASE
    asked = make_schedule(recipe, EPOCHS * STEPS, STEPS)
    rate = schedule.rate
    found = [rate(BASE, it, EPOCHS * STEPS, STEPS, asked) for it in range(EPOCHS * STEPS)]
    assert found == pytest.approx([reference(kind, it, **arguments) for it in range(EPOCHS * STEPS)], rel=1e-12)
    # the epoch that is trained is the epoch that is plotted: nothing is shifted by one
    assert arguments.get("warmup") or found[0] == BASE
