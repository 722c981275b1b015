"""Durations and sizes of a recipe in steps."""

from __future__ import annotations

from typing import Any

import pytest

from liandan.recipe import make_recipe
from liandan.runtime.plan import Plan, Schedule, Warmup, make_plan
from liandan.tasks.image_classification import ImageClassification

TASK = ImageClassification(None, ["猫", "狗"], {"in_chans": 1, "size": [8, 8]})
HEAD: dict[str, Any] = {"version": 1, "task": "image_classification", "data": {"train": "x"}, "model": {"name": "liandan/lenet5"}}


def plan(*overrides: str, samples: int = 100) -> Plan:
    return make_plan(make_recipe(HEAD, list(overrides)), TASK, samples)


@pytest.mark.parametrize(
    ("duration", "samples", "batch_size", "steps"),
    [
        ("{epochs: 3}", 100, 32, 12),  # the partial batch is a step
        ("{epochs: 3}", 96, 32, 9),
        ("{epochs: 0.5}", 100, 25, 2),
        ("{epochs: 0.3}", 100, 25, 2),  # a part of a step is a step
        ("{epochs: 0.1}", 10, 1, 1),  # 0.1 * 10 is 1, not 2
        ("{epochs: 0.001}", 100, 32, 1),
        ("{steps: 7}", 100, 32, 7),
        ("{epochs: 1}", 5, 999, 1),
    ],
)
def test_durations_in_steps(duration: str, samples: int, batch_size: int, steps: int) -> None:
    assert plan(f"train.duration={duration}", f"train.batch_size={batch_size}", samples=samples).steps == steps


def test_each_duration_is_counted_by_itself() -> None:
    found = plan("train.batch_size=10", "evaluate.every={epochs: 2}", "checkpoint.every={steps: 3}", "train.duration={epochs: 4}")
    assert (found.steps_per_epoch, found.steps, found.evaluate_every, found.save_every) == (10, 40, 20, 3)


def test_the_warmup_leaves_a_step_for_what_comes_after() -> None:
    found = plan("schedule={name: cosine, min_lr_ratio: 0.1, warmup: {epochs: 1}}", "train.batch_size=10").schedule
    assert found == Schedule("cosine", {"min_lr_ratio": 0.1}, False, Warmup(10, "linear", 0.1, False))
    shortest = plan("schedule={name: cosine, warmup: {epochs: 9}}", "train.duration={steps: 5}").schedule
    assert shortest.warmup == Warmup(4, "linear", 0.25, False)
    assert plan("schedule={name: cosine, warmup: {steps: 9}}", "train.duration={steps: 1}").schedule.warmup is None


def test_a_warmup_in_the_references_words() -> None:
    asked = "schedule={name: poly, by_epoch: true, warmup: {steps: 5, shape: exponential, ratio: 0.01, overlap: true}}"
    assert plan(asked, "train.batch_size=10").schedule == Schedule("poly", {}, True, Warmup(5, "exponential", 0.01, True))


def test_micro_batches_and_evaluation_follow_the_batch() -> None:
    assert plan("train.batch_size=16").micro_batch_size == 16
    assert plan("train.batch_size=16", "train.micro_batch_size=4").evaluate_batch_size == 4
    assert plan("train.batch_size=16", "evaluate.batch_size=5").evaluate_batch_size == 5


def test_logging_aims_at_two_hundred_rows() -> None:
    assert plan("train.duration={steps: 1000}").log_every == 5
    assert plan("train.duration={steps: 10}").log_every == 1
    assert plan("train.log_every=3").log_every == 3


def test_what_is_best_is_the_tasks_unless_the_recipe_says() -> None:
    assert plan().best == ("val/accuracy", "max")
    assert plan("evaluate.best={metric: val/loss, mode: min}").best == ("val/loss", "min")
