"""The protocol's contract: every task in the table passes, assembled from its own tiny recipe on its own real data."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

import pytest
import torch

from liandan.data.pipelines import PIPELINES
from liandan.recipe import load_recipe
from liandan.runtime.assemble import Parts, assemble
from liandan.runtime.device import Device
from liandan.tasks import TASKS, Task, resolve
from liandan.tasks.evaluation import evaluate
from tests.journeys import PLAIN, TINY


@cache
def parts(task: str) -> Parts:
    recipe = load_recipe(TINY[task], [*PLAIN[task], "train.precision=fp64", "data.workers=0", "train.threads=1", "train.ema=null"])
    return assemble(recipe, Device("cpu", "fp64"))


def batch(task: str, size: int = 10) -> dict[str, Any]:
    """The first prepared micro-batch of the first step."""
    made = parts(task)
    (first, *_) = next(iter(made.loader.training(size, size, 0, 1)))
    with torch.no_grad():
        return made.task.prepare(made.model, made.device.move(first))


def turns(task: str, batches: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The micro-batches of each turn, with the logs an engine would have filled in."""
    made, out = parts(task), []
    for turn in made.task.turns(made.model, batches, made.device):
        out.append(turn.batches)
        for one in turn.batches:
            _, logs = made.task.loss(made.model, one)
            turn.logs |= {name: float(total) / float(count) for name, (total, count) in logs.items()}
    return out


@pytest.mark.parametrize("task", TASKS)
def test_it_says_what_it_is(task: str) -> None:
    kind = resolve(task)
    assert issubclass(kind, Task) and kind.kind in PIPELINES and kind.inputs and kind.metrics
    metric, mode = kind.best
    assert metric.removeprefix("val/") in kind.metrics and mode in ("min", "max")


@pytest.mark.parametrize("task", TASKS)
def test_a_batch_carries_index_key_and_rng(task: str) -> None:
    found = batch(task)
    assert found["index"].dtype == found["key"].dtype == torch.int64 and len(found["index"]) == len(found["key"]) == 10
    assert isinstance(found["rng"], int)


@pytest.mark.parametrize("task", TASKS)
def test_preparing_twice_draws_the_same(task: str) -> None:
    first, second = batch(task), batch(task)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name], name


@pytest.mark.parametrize("task", TASKS)
def test_losses_are_sums_over_what_count_counts(task: str) -> None:
    """The parts of a batch add up to the whole, in loss and in count, for every turn."""
    made, whole = parts(task), batch(task)
    cut = made.task.split(whole, 3)
    assert [len(part["index"]) for part in cut] == [3, 3, 3, 1]
    for one, several in zip(turns(task, [whole]), turns(task, cut), strict=True):
        sums, logs = made.task.loss(made.model, one[0])
        assert sums.keys() == made.task.count(one[0]).keys()
        for name, total in sums.items():
            assert total.dim() == 0 and total.requires_grad
            added = sum(float(made.task.loss(made.model, part)[0][name].detach()) for part in several)
            assert added == pytest.approx(float(total.detach()), rel=1e-10), name
            assert sum(made.task.count(part)[name] for part in several) == made.task.count(one[0])[name] > 0
        for name, (total, count) in logs.items():
            assert float(sum(made.task.loss(made.model, part)[1][name][0] for part in several)) == pytest.approx(float(total), rel=1e-10)
            assert sum(made.task.loss(made.model, part)[1][name][1] for part in several) == count


@pytest.mark.parametrize("task", TASKS)
def test_every_parameter_learns_in_some_turn(task: str) -> None:
    made, whole = parts(task), batch(task)
    moved: set[str] = set()
    for turn in made.task.turns(made.model, [whole], made.device):
        made.model.zero_grad(set_to_none=True)
        sums, logs = made.task.loss(made.model, turn.batches[0])
        sum(sums.values()).backward()  # pyright: ignore[reportAttributeAccessIssue]
        turn.logs |= {name: float(total) / float(count) for name, (total, count) in logs.items()}
        moved |= {n for n, p in made.named if n.startswith(turn.learns) and p.grad is not None and bool(p.grad.abs().sum() > 0)}
    made.model.zero_grad(set_to_none=True)
    assert moved == {name for name, _ in made.named}


@pytest.mark.parametrize("task", TASKS)
def test_forward_takes_and_gives_plain_tensors(task: str) -> None:
    made = parts(task)
    inputs = made.device.move(made.task.example_inputs(made.model))
    assert tuple(inputs) == made.task.inputs
    with torch.no_grad():
        outputs = made.task.forward(made.model, inputs)
    assert outputs and all(isinstance(v, torch.Tensor) and len(v) == 2 for v in outputs.values())
    assert len(made.task.decode(outputs)) == 2
    json.dumps(made.task.decode(outputs), allow_nan=False)


@pytest.mark.parametrize("task", TASKS)
def test_rows_are_json_and_summarize_to_the_metrics_it_names(task: str) -> None:
    made = parts(task)
    assert made.val is not None and made.val_loader is not None
    rows = evaluate(made.task, made.model, made.val_loader.evaluation(64), made.device)
    assert [row["index"] for row in rows] == list(range(len(made.val)))
    json.dumps(rows, allow_nan=False)
    found = made.task.summary(rows)
    assert set(found) == set(made.task.metrics) and all(math.isfinite(v) for v in found.values())


@pytest.mark.parametrize("task", TASKS)
def test_its_state_comes_back(task: str) -> None:
    made = parts(task)
    before = json.dumps(made.task.state_dict(), sort_keys=True)
    made.task.load_state_dict(json.loads(before))
    assert json.dumps(made.task.state_dict(), sort_keys=True) == before
