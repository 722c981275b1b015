"""The numbers of a run, in steps: what the loop reads, worked out once from a resolved recipe and the length of its data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from liandan.recipe import Recipe
from liandan.tasks import Task

_ROWS = 200  # rows of metrics.jsonl a run aims at when nothing else is asked


_LEAST = 1e-3  # of the learning rate: where a warm-up of any length begins at least


@dataclass(frozen=True)
class Warmup:
    """The rise of the learning rate at the start: its length in steps, its shape, the factor it starts from, whether the schedule runs."""

    steps: int
    shape: str
    start: float
    overlap: bool


@dataclass(frozen=True)
class Schedule:
    """A schedule by name, with its keyword arguments; `by_epoch`: it moves only where an epoch begins."""

    name: str
    arguments: dict[str, Any]
    by_epoch: bool = False
    warmup: Warmup | None = None


@dataclass(frozen=True)
class Plan:
    """Durations in steps, sizes in samples.

    Attributes:
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
    schedule: Schedule
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
    return Plan(
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        batch_size=train.batch_size,
        micro_batch_size=micro,
        evaluate_batch_size=micro if evaluate.batch_size == "auto" else evaluate.batch_size,
        evaluate_every=in_steps(evaluate.every, steps_per_epoch),
        save_every=in_steps(recipe.checkpoint.every, steps_per_epoch),
        log_every=max(1, steps // _ROWS) if train.log_every == "auto" else train.log_every,
        schedule=make_schedule(recipe, steps, steps_per_epoch),
        best=(evaluate.best.metric, evaluate.best.mode) if evaluate.best else task.best,
        stop_after=evaluate.stop_after,
    )


def make_schedule(recipe: Recipe, steps: int, steps_per_epoch: int) -> Schedule:
    """The schedule with its warm-up in steps, which leaves at least one step for what comes after; it starts at 1/length unless told."""
    spec, asked = recipe.schedule, recipe.schedule.warmup
    warmup = None
    if asked is not None and steps > 1:
        length = min(in_steps(asked, steps_per_epoch), steps - 1)
        warmup = Warmup(length, asked.shape, max(_LEAST, 1 / length) if asked.ratio is None else asked.ratio, asked.overlap)
    return Schedule(spec.name, spec.arguments, spec.by_epoch, warmup)
