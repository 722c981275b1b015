"""Learning-rate schedules: pure functions of the step, so there is no state to save.

Each shape gives a factor of the recipe's lr at a step counted from the end of the warm-up.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from liandan.runtime.plan import Plan


def constant(step: int, total: int, steps_per_epoch: int) -> float:
    return 1.0


def cosine(step: int, total: int, steps_per_epoch: int, *, final: float = 0.0) -> float:
    """From 1 to `final` along half a cosine (Loshchilov and Hutter, SGDR, 2017, equation 5, without restarts)."""
    return final + (1 - final) * (1 + math.cos(math.pi * min(1.0, step / max(1, total)))) / 2


def step(step: int, total: int, steps_per_epoch: int, *, milestones: Sequence[float] = (30, 60, 90), gamma: float = 0.1) -> float:
    """Times `gamma` at each of `milestones`, in epochs after the warm-up."""
    return gamma ** sum(step >= round(m * steps_per_epoch) for m in milestones)


SCHEDULES = {"constant": constant, "cosine": cosine, "step": step}


def signature(name: str) -> inspect.Signature:
    """The keyword arguments a recipe may give a schedule."""
    full = inspect.signature(SCHEDULES[name])
    return full.replace(parameters=[p for p in full.parameters.values() if p.kind is p.KEYWORD_ONLY])


def warmup_factor(step: int, length: int, shape: str, start: float) -> float:
    """Factor in the warm-up, 0 <= step < length: `start` at first, 1 when it ends.

    linear: start + (1 - start) step / length; exponential: start^(1 - step / length); constant: start throughout.
    """
    if shape == "constant":
        return start
    if shape == "exponential":
        return start ** (1 - step / length)
    return start + (1 - start) * step / length


def factor(step: int, total: int, steps_per_epoch: int, name: str, arguments: Mapping[str, Any], warmup: tuple[int, str] | None) -> float:
    """The learning rate of a step as a factor of the recipe's lr.

    Args:
        step: from 0.
        total: steps of the whole run; the shape spans what the warm-up leaves.
        warmup: its length in steps and its shape, or None. A linear warm-up starts at 1/length so that no step is spent at 0.
    """
    length, shape = warmup or (0, "linear")
    if step < length:
        return warmup_factor(step, length, shape, max(1e-3, 1 / length))
    return SCHEDULES[name](step - length, total - length, steps_per_epoch, **arguments)


def learning_rate(lr: float, plan: Plan, step: int) -> float:
    """The learning rate of a run's step, from 0; `lr` is the recipe's, or the optimizer's own where the recipe has none."""
    return lr * factor(step, plan.steps, plan.steps_per_epoch, *plan.schedule)
