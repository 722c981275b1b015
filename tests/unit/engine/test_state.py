"""Moving average, running statistics and checkpoints against analytic values."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from liandan.engine import optim
from liandan.engine.batchnorm import RunningStatistics
from liandan.engine.sharing import Reduced
from liandan.engine.state import Ema, State, StateError, flatten, inflate
from liandan.runtime.device import Device
from liandan.tasks.gan import Gan


def test_the_average_is_its_formula() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    ema, expected = Ema(model, 0.9), 0.0
    for step in range(50):
        nn.init.constant_(model.weight, float(step))
        ema.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert float(ema.mean["weight"]) == pytest.approx(expected, rel=1e-6)


def test_running_statistics_move_once_by_the_mean_over_micro_batches() -> None:
    torch.manual_seed(0)
    data, model = torch.randn(10, 3, dtype=torch.float64) + 2, nn.BatchNorm1d(3, momentum=0.1).double()
    statistics = RunningStatistics(model, Device(), 2)
    for part in (data[:6], data[6:]):
        model(part)
        statistics.after(len(part))
    statistics.close()
    mean = (6 * data[:6].mean(0) + 4 * data[6:].mean(0)) / 10
    var = (6 * data[:6].var(0) + 4 * data[6:].var(0)) / 10
    assert model.running_mean is not None and model.running_var is not None and model.num_batches_tracked is not None
    assert torch.allclose(model.running_mean, 0.1 * mean) and torch.allclose(model.running_var, 0.9 + 0.1 * var)
    assert int(model.num_batches_tracked) == 1


def test_an_undone_turn_leaves_no_trace() -> None:
    model = nn.BatchNorm1d(3)
    before = copy.deepcopy(model.state_dict())
    statistics = RunningStatistics(model, Device(), 2)
    model(torch.randn(5, 3))
    statistics.undo()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def state(width: int = 4, ema: float | None = 0.9) -> State:
    torch.manual_seed(width)
    model = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(2, 3, 8, 8))
    model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    task = Gan(None, None, {"in_chans": 1, "size": [16, 16]})
    sharing = Reduced(list(model.named_parameters()), optim.build("adamw", list(model.parameters()), {"lr": 0.01}), Device())
    return State(model, sharing, task, Device(), ema, 8)


def learn(one: State, steps: int) -> None:
    for step in range(steps):
        torch.manual_seed(step)
        one.optimizer.zero_grad()
        one.model(torch.randn(4, 3, 8, 8).contiguous(memory_format=torch.channels_last)).square().sum().backward()
        one.optimizer.step()
        if one.ema:
            one.ema.update(step)
    one.task.balance = 0.75  # pyright: ignore[reportAttributeAccessIssue]


def test_a_restored_state_goes_on_as_the_first_would_have() -> None:
    """Channels-last weights included: their moments must come back in the same layout."""
    first, second = state(), state()
    learn(first, 3)
    second.restore(*first.files(first.sharing.state()))
    for one in (first, second):
        learn(one, 2)
    tensors, documents = first.files(first.sharing.state())
    others, other_documents = second.files(second.sharing.state())
    assert documents == other_documents
    for file, named in tensors.items():
        assert named.keys() == others[file].keys()
        assert all(torch.equal(named[k], others[file][k]) for k in named)


def test_another_architecture_is_refused_with_both_shapes() -> None:
    with pytest.raises(StateError, match=r"0\.weight.*\(5, 3, 3, 3\).*\(4, 3, 3, 3\)"):
        state(5).restore(*state(4).files({}))


def test_flatten_has_an_inverse() -> None:
    value = {"a": [1, 2.5, {"b": torch.arange(3)}], "c": None, "d": {"e": torch.ones(2, 2), "f": "炼丹"}, "g": True}
    skeleton, tensors = flatten(value, "task")
    found = inflate(skeleton, tensors)
    assert found["c"] is None and found["g"] is True and found["d"]["f"] == "炼丹" and found["a"][:2] == [1, 2.5]
    assert torch.equal(found["a"][2]["b"], torch.arange(3)) and torch.equal(found["d"]["e"], torch.ones(2, 2))
