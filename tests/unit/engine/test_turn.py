"""One turn: counts known before the first backward, micro-batches cut to what fits, optimizers as torch has them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from liandan.engine import optim
from liandan.engine.turn import cut, global_counts
from liandan.runtime.device import Device
from liandan.tasks import Task, Turn


class Counting(Task):
    """Two losses; the second is divided by how many samples are marked."""

    def count(self, batch: dict[str, Any]) -> dict[str, float]:
        marked = float(batch["marked"].sum())
        return {"all": len(batch["index"])} | ({"marked": marked} if marked else {})


def batch(marks: list[int]) -> dict[str, Any]:
    n = len(marks)
    return {
        "index": torch.arange(n),
        "marked": torch.tensor(marks),
        "rng": 5,
        "text": [str(i) for i in range(n)],
        "scale": torch.tensor(2.0),
    }


TASK = Counting(None, None, {})
PARTS = cast(Any, SimpleNamespace(task=TASK, device=Device()))


def test_counts_are_summed_over_micro_batches_whichever_names_they_have() -> None:
    turn = Turn([batch([1, 0, 1]), batch([0, 0]), batch([1])])
    assert global_counts(PARTS, turn) == {"all": 6.0, "marked": 3.0}


def test_a_count_is_at_least_one() -> None:
    class Empty(Counting):
        def count(self, batch: dict[str, Any]) -> dict[str, float]:
            return {"loss": 0.0}

    parts = cast(Any, SimpleNamespace(task=Empty(None, None, {}), device=Device()))
    assert global_counts(parts, Turn([batch([0])])) == {"loss": 1.0}
    assert global_counts(PARTS, Turn([])) == {}  # a process without micro-batches


def test_cut_divides_what_is_too_large_and_leaves_the_rest() -> None:
    small, large = batch([1, 0]), batch([1, 0, 1, 1, 0])
    found = cut(TASK, [small, large], 2)
    assert found[0] is small
    assert [part["index"].tolist() for part in found[1:]] == [[0, 1], [2, 3], [4]]
    assert [part["text"] for part in found[1:]] == [["0", "1"], ["2", "3"], ["4"]]
    assert torch.equal(torch.cat([part["marked"] for part in found[1:]]), large["marked"])
    assert all(float(part["scale"]) == 2.0 for part in found)  # what is not one a sample goes with every part
    assert len({part["rng"] for part in found}) == 4  # each part has dropout of its own
    again = cut(TASK, [small, large], 2)
    assert [part["rng"] for part in again] == [part["rng"] for part in found]


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_an_optimizer_does_what_torchs_unfused_one_does(name: str) -> None:
    ends = []
    for make in (lambda p: optim.build(name, p, {}), lambda p: optim.OPTIMIZERS[name](p)):
        torch.manual_seed(0)
        model = nn.Linear(4, 3).double()
        optimizer = make(list(model.parameters()))
        for _ in range(5):
            optimizer.zero_grad()
            (model(torch.randn(8, 4, dtype=torch.float64)) ** 2).sum().backward()
            optimizer.step()
        ends.append(model.weight.detach())
    assert torch.allclose(*ends, rtol=1e-12)


def test_lists_of_a_recipe_become_the_tuples_torch_wants() -> None:
    optimizer = optim.build("adamw", [nn.Parameter(torch.zeros(1))], {"lr": 0.1, "betas": [0.5, 0.9]})
    assert optimizer.defaults["betas"] == (0.5, 0.9) and optimizer.defaults["fused"]
