"""Learning-rate schedules: pure functions of the step, so there is no state to save, but for `plateau`, which also follows what was judged.

Each shape gives the learning rate of a step counted from the end of the warm-up. Its first four arguments are the run's: the recipe's lr,
the step, the steps of the whole shape, the steps of an epoch; the others are the recipe's to set.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence

import torch

from liandan.runtime.plan import Plan, Schedule, Warmup

_EPS = 1e-8  # a plateau's reductions smaller than this are not made, as in torch


def constant(lr: float, step: int, total: int, steps_per_epoch: int) -> float:
    return lr


def cosine(
    lr: float, step: int, total: int, steps_per_epoch: int, *, min_lr_ratio: float | None = None, min_lr: float | None = None
) -> float:  # fmt: skip
    """From lr to `min_lr`, or to `min_lr_ratio` of lr, along half a cosine (Loshchilov and Hutter, SGDR, 2017, equation 5, one period)."""
    return _half_cosine(lr, _end(lr, min_lr_ratio, min_lr), step / max(1, total))


def cosine_cooldown(
    lr: float, step: int, total: int, steps_per_epoch: int, *,
    cool_down_ratio: float = 0.1, cool_down_time: float = 10, min_lr_ratio: float | None = None, min_lr: float | None = None,
) -> float:  # fmt: skip
    """`cosine` over all but the last `cool_down_time` epochs, and in these its end times `cool_down_ratio`, as in mmclassification."""
    end, until = _end(lr, min_lr_ratio, min_lr), total - cool_down_time * steps_per_epoch
    return end * cool_down_ratio if step > until else _half_cosine(lr, end, step / max(1.0, until))


def poly(lr: float, step: int, total: int, steps_per_epoch: int, *, power: float = 1.0, min_lr: float = 0.0) -> float:
    """From lr to `min_lr` as (1 - step / total) ** power (Liu, Rabinovich, Berg, ParseNet, 2015)."""
    return (lr - min_lr) * (1 - min(1.0, step / max(1, total))) ** power + min_lr


def step(
    lr: float, step: int, total: int, steps_per_epoch: int, *,
    milestones: Sequence[float] = (30, 60, 90), gamma: float = 0.1, min_lr: float | None = None,
) -> float:  # fmt: skip
    """Times `gamma` at each of `milestones`, in epochs, but never below `min_lr`."""
    return max(min_lr or 0.0, lr * gamma ** sum(step >= round(m * steps_per_epoch) for m in milestones))


def one_cycle(
    lr: float, step: int, total: int, steps_per_epoch: int, *,
    pct_start: float = 0.3, div_factor: float = 25.0, final_div_factor: float = 1e4, anneal_strategy: str = "cos",
    three_phase: bool = False,
) -> float:  # fmt: skip
    """From lr / div_factor up to lr in the first `pct_start` of the steps, then down to lr / (div_factor * final_div_factor).

    Args:
        anneal_strategy: "cos" or "linear", how it rises and falls.
        three_phase: down to where it began in as many steps as up, and to the end in what is left.

    Smith and Topin, "Super-convergence", 2019, with the defaults of torch's OneCycleLR; momentum is left alone.
    """
    if not 0 <= pct_start <= 1 or min(div_factor, final_div_factor) <= 0:
        raise ValueError("expected pct_start from 0 to 1 and factors above 0")
    if anneal_strategy not in ("cos", "linear"):
        raise ValueError(f'expected anneal_strategy "cos" or "linear", got {anneal_strategy!r}')
    first, last, top = lr / div_factor, lr / div_factor / final_div_factor, pct_start * total - 1
    ends = [(top, first, lr), (2 * top, lr, first), (total - 1, first, last)] if three_phase else [(top, first, lr), (total - 1, lr, last)]
    begin = 0.0
    for end, start, stop in ends:
        if step <= end or end == ends[-1][0]:
            part = (step - begin) / (end - begin) if end > begin else 1.0
            return _half_cosine(start, stop, part) if anneal_strategy == "cos" else start + (stop - start) * min(1.0, part)
        begin = end
    raise AssertionError("the last phase has every step that is left")


def plateau(
    lr: float, step: int, total: int, steps_per_epoch: int, *,
    factor: float = 0.1, patience: int = 10, threshold: float = 1e-4, threshold_mode: str = "rel", cooldown: int = 0, min_lr: float = 0.0,
) -> float:  # fmt: skip
    """lr, until `judged` has counted more than `patience` evaluations without improvement (torch's ReduceLROnPlateau).

    Args:
        factor: of each reduction, in (0, 1).
        patience, cooldown: in evaluations; in the cool-down after a reduction none is counted.
        threshold: how much better is better, as a fraction of the best ("rel") or as it is ("abs").
        min_lr: below which no reduction goes.
    """
    if not 0 < factor < 1 or patience < 0 or cooldown < 0 or min_lr < 0 or threshold < 0:
        raise ValueError("expected factor between 0 and 1, and patience, cooldown, threshold and min_lr of 0 or more")
    if threshold_mode not in ("rel", "abs"):
        raise ValueError(f'expected threshold_mode "rel" or "abs", got {threshold_mode!r}')
    return lr


SCHEDULES = {
    "constant": constant,
    "cosine": cosine,
    "cosine_cooldown": cosine_cooldown,
    "poly": poly,
    "step": step,
    "one_cycle": one_cycle,
    "plateau": plateau,
}


def _end(lr: float, min_lr_ratio: float | None, min_lr: float | None) -> float:
    if min_lr is not None and min_lr_ratio is not None:
        raise ValueError("expected one of min_lr and min_lr_ratio, got both")
    return lr * (min_lr_ratio or 0.0) if min_lr is None else min_lr


def _half_cosine(start: float, stop: float, part: float) -> float:
    return stop + (start - stop) * (1 + math.cos(math.pi * min(1.0, part))) / 2


def signature(name: str) -> inspect.Signature:
    """The keyword arguments a recipe may give a schedule."""
    full = inspect.signature(SCHEDULES[name])
    return full.replace(parameters=[p for p in full.parameters.values() if p.kind is p.KEYWORD_ONLY])


def warmup_factor(step: int, warmup: Warmup) -> float:
    """Factor in the warm-up, 0 <= step < W: r = `warmup.start` at first, 1 when it ends.

    linear: 1 - (1 - step / W) (1 - r); exponential: r^(1 - step / W); constant: r throughout.
    """
    if warmup.shape == "constant":
        return warmup.start
    left = 1 - step / warmup.steps
    return warmup.start**left if warmup.shape == "exponential" else 1 - left * (1 - warmup.start)


def rate(lr: float, step: int, total: int, steps_per_epoch: int, schedule: Schedule) -> float:
    """The learning rate of a step, from 0, in a run of `total` steps; `lr` is the recipe's.

    The shape spans what the warm-up leaves; with `overlap` it spans the whole run and the warm-up is a factor on it.
    """
    warmup, shape = schedule.warmup, SCHEDULES[schedule.name]
    length = warmup.steps if warmup else 0
    before = 0 if warmup is None or warmup.overlap else length
    at = step // steps_per_epoch * steps_per_epoch if schedule.by_epoch else step
    regular = shape(lr, max(0, at - before), total - before, steps_per_epoch, **schedule.arguments)
    if warmup is None or step >= length:
        return regular
    return warmup_factor(step, warmup) * (regular if warmup.overlap else lr)


def learning_rate(lr: float, plan: Plan, step: int, reduced: Mapping[str, float]) -> float:
    """The learning rate of a run's step, from 0.

    Args:
        lr: the recipe's, or the optimizer's own where the recipe has none.
        reduced: what `judged` has made of the evaluations so far.
    """
    return rate(lr, step, plan.steps, plan.steps_per_epoch, plan.schedule) * reduced.get("scale", 1.0)


def set_rates(optimizer: torch.optim.Optimizer, plan: Plan, step: int, reduced: Mapping[str, float]) -> None:
    """Every group's learning rate for a step: the run's, times the group's own `lr_scale`."""
    now = learning_rate(optimizer.defaults["lr"], plan, step, reduced)
    for group in optimizer.param_groups:
        group["lr"] = now * group.get("lr_scale", 1.0)


def judged(reduced: Mapping[str, float], lr: float, plan: Plan, value: float) -> dict[str, float]:
    """What an evaluation does to a plateau's state, {} at first; other schedules have none.

    Args:
        value: of the metric by which a checkpoint is best. One that is not a number counts as no improvement.

    Returns:
        scale (the reductions so far, a factor on lr), bad (evaluations without improvement), cooldown (left), best (absent at first).
    """
    if plan.schedule.name != "plateau":
        return {}
    own = {n: p.default for n, p in signature("plateau").parameters.items()} | plan.schedule.arguments
    scale, bad, cooldown, best = reduced.get("scale", 1.0), reduced.get("bad", 0), reduced.get("cooldown", 0), reduced.get("best")
    sign = 1.0 if plan.best[1] == "max" else -1.0
    margin = 0.0 if best is None else best * own["threshold"] if own["threshold_mode"] == "rel" else own["threshold"]
    better = best is None or sign * value > sign * best + margin
    best, bad = (value, 0) if better and math.isfinite(value) else (best, bad + 1)
    if cooldown > 0:
        cooldown, bad = cooldown - 1, 0
    if bad > own["patience"]:
        cooldown, bad, now = own["cooldown"], 0, lr * scale
        lower = max(now * own["factor"], own["min_lr"])
        scale = lower / lr if now - lower > _EPS else scale
    return {"scale": scale, "bad": bad, "cooldown": cooldown} | ({} if best is None else {"best": best})
