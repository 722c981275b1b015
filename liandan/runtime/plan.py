"""The numbers of a run, in steps: what the loop reads, worked out once from a resolved recipe and the length of its data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from liandan.recipe import Recipe
from liandan.tasks import Task

_ROWS = 200  # rows of metrics.jsonl a run aims at when nothing else is asked


@dataclass(frozen=True)
class Plan:
    """Durations in steps, sizes in samples.

    Attributes:
        schedule: name, arguments, and warm-up as (steps, shape) or None: what engine.schedule.factor takes.
        best: metric and mode.
    """

    steps: int
    steps_per_epoch: int
    batch_size: int
    micro_batch_size: int
    evaluate_batch_size: int
    evaluate_every: int
    save_every: int
    log_every: int
    schedule: tuple[str, dict[str, Any], tuple[int, str] | None]
    best: tuple[str, str]
    stop_after: int | None


def in_steps(duration: Any, steps_per_epoch: int) -> int:
    """`{epochs: e}` or `{steps: s}` in steps, at least 1; a fraction of an epoch is rounded up."""
    return max(1, duration.steps if duration.steps is not None else math.ceil(duration.epochs * steps_per_epoch - 1e-9))


def make_plan(recipe: Recipe, task: Task, samples: int) -> Plan:
    """The plan of a run over `samples` training samples an epoch."""
    train, evaluate = recipe.train, recipe.evaluate
    steps_per_epoch = math.ceil(samples / train.batch_size)
    steps = in_steps(train.duration, steps_per_epoch)
    micro = train.batch_size if train.micro_batch_size == "auto" else min(train.micro_batch_size, train.batch_size)
    warmup = recipe.schedule.warmup
    return Plan(
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        batch_size=train.batch_size,
        micro_batch_size=micro,
        evaluate_batch_size=micro if evaluate.batch_size == "auto" else evaluate.batch_size,
        evaluate_every=in_steps(evaluate.every, steps_per_epoch),
        save_every=in_steps(recipe.checkpoint.every, steps_per_epoch),
        log_every=max(1, steps // _ROWS) if train.log_every == "auto" else train.log_every,
        schedule=(
            recipe.schedule.name,
            dict(recipe.schedule.arguments),
            (min(in_steps(warmup, steps_per_epoch), steps - 1), warmup.shape) if warmup and steps > 1 else None,
        ),
        best=(evaluate.best.metric, evaluate.best.mode) if evaluate.best else task.best,
        stop_after=evaluate.stop_after,
    )
