"""Memory counted on fake tensors: against arithmetic, against torch's own tracker, and over every task in the table."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

from liandan.engine import optim
from liandan.recipe import find, load_recipe
from liandan.runtime import assemble
from liandan.runtime.device import Device
from liandan.studies.memory import (
    NotApplicable,
    Uncountable,
    checkpointed,
    fake_twin,
    footprint,
    states_a_parameter,
    with_lora,
)
from liandan.studies.plan import counter, first_batch, largest, sizes
from liandan.tasks import TASKS
from liandan.tasks.task import Batch, Logs, Sums, Task
from tests.journeys import TINY

WIDTH, CLASSES = 64, 10


class Plain(Task):
    """Cross entropy of what the model makes of "x"."""

    inputs = ("x",)
    best = ("val/loss", "min")

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Sums, Logs]:
        return {"loss": F.cross_entropy(model(batch["x"]), batch["y"], reduction="sum")}, {}


class DependsOnValues(Plain):
    def loss(self, model: nn.Module, batch: Batch) -> tuple[Sums, Logs]:
        return super().loss(model, {**batch, "x": batch["x"][batch["y"] > 3]})


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, CLASSES))


def batch_of(n: int) -> Batch:
    return {"index": torch.arange(n), "key": torch.arange(n), "rng": 1, "x": torch.zeros(n, WIDTH), "y": torch.zeros(n, dtype=torch.int64)}


counted = functools.partial(footprint, Plain(None, None, {}))


def test_what_can_be_worked_out_by_hand() -> None:
    numbers = 2 * (WIDTH * WIDTH + WIDTH) + WIDTH * CLASSES + CLASSES
    found = counted(mlp(), batch_of(4), [256], Device(), optimizer=("adamw", {"lr": 1e-3}), average=True)
    assert (found.all, found.learning) == (numbers, numbers)
    assert found.parameters == found.average == 4 * numbers
    assert found.optimizer == 8 * numbers  # two moments
    assert found.batch == 256 * (WIDTH * 4 + 3 * 8)
    # the largest moment is the gradient's way back through the second ReLU: both hidden layers are still kept (a ReLU keeps its
    # output, which is the next layer's input), the gradients after and before it are there, and that of the last layer's weights
    hidden, scalars = 256 * WIDTH * 4, 64
    assert 2 * hidden <= found.activations <= 2 * hidden + scalars
    assert 2 * hidden <= found.temporaries <= 2 * hidden + scalars
    assert found.gradients == 4 * (WIDTH * CLASSES + CLASSES)


@pytest.mark.parametrize(
    ("name", "arguments", "states"),
    [("sgd", {"lr": 0.1}, 0), ("sgd", {"lr": 0.1, "momentum": 0.9}, 1), ("adamw", {"lr": 1e-3}, 2), ("adagrad", {"lr": 0.1}, 1)],
)
def test_the_state_of_an_optimizer(name: str, arguments: dict[str, Any], states: int) -> None:
    assert states_a_parameter(name, arguments) == states


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_every_optimizer_can_be_asked(name: str) -> None:
    model = mlp()
    wanted = states_a_parameter(name, {"lr": 1e-3})
    made = optim.build(name, list(model.parameters()), {"lr": 1e-3})
    for _ in range(2):
        model(torch.ones(2, WIDTH)).sum().backward()
        made.step()
    held = sum(v.numel() for state in made.state.values() for v in state.values() if isinstance(v, Tensor) and v.dim())
    assert held == wanted * sum(p.numel() for p in model.parameters())


def torchs_own_peak(model: nn.Module, x: Tensor, y: Tensor) -> int:
    """Of a forward and backward pass, by torch.distributed's tracker."""
    tracker = MemTracker()
    mode = FakeTensorMode()
    twin, x, y = fake_twin(mode, model), mode.from_tensor(x), mode.from_tensor(y)
    tracker.track_external(twin, x, y)
    with mode, tracker:
        F.cross_entropy(twin(x), y, reduction="sum").backward()
    return tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]


def networks() -> Iterator[Any]:
    yield pytest.param(mlp, (WIDTH,), id="mlp")
    timm = pytest.importorskip("timm")
    for name, arguments in {"resnet18": {}, "vit_tiny_patch16_224": {"depth": 3}}.items():
        yield pytest.param(functools.partial(timm.create_model, name, num_classes=CLASSES, **arguments), (3, 224, 224), id=name)


@pytest.mark.parametrize(("build", "shape"), list(networks()))
def test_the_peak_is_that_of_torchs_own_tracker(build: Any, shape: tuple[int, ...]) -> None:
    model, n = build().train(), 4
    batch = {"index": torch.arange(n), "rng": 1, "x": torch.zeros(n, *shape), "y": torch.zeros(n, dtype=torch.int64)}
    ours = counted(model, batch, [n], Device(), optimizer=("sgd", {"lr": 0.1}))
    theirs = torchs_own_peak(model, batch["x"], batch["y"])
    placed = sum(v.numel() * v.element_size() for v in batch.values() if isinstance(v, Tensor) and v.dim() > 2)  # channels-last copy
    assert ours.peak - placed == pytest.approx(theirs, rel=0.02)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_can_be_counted(task: str) -> None:
    """By the protocol alone; activations and batch grow with the micro-batch, what the weights need does not."""
    recipe = load_recipe(find(TINY[task]))
    parts = assemble.assemble(recipe, Device())
    count = counter(parts, first_batch(parts))
    small, large = count([8]), count([32])
    assert small.learning == sum(p.numel() for _, p in parts.named)
    assert (small.parameters, small.optimizer, small.average) == (large.parameters, large.optimizer, large.average)
    assert large.batch == 4 * small.batch
    assert 3 * small.activations < large.activations <= 4.01 * small.activations
    whole = count(sizes(parts))
    assert whole.peak < count([sum(sizes(parts))]).peak  # micro-batches spare memory


def test_counting_takes_no_memory() -> None:
    """A batch of 16 million rows: 4 GiB of input, 12 of hidden layers."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("the system does not tell a process its memory")

    def resident() -> int:
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS")) * 1024

    before, model = resident(), mlp()
    found = counted(model, batch_of(2), [1 << 24], Device())
    assert found.peak > 12 << 30
    assert resident() - before < 256 << 20
    assert all(p.grad is None and type(p.data) is Tensor for p in model.parameters()), "the model itself is left alone"


def test_checkpointing_spares_activations_and_needs_blocks() -> None:
    timm = pytest.importorskip("timm")
    model, n = timm.create_model("vit_tiny_patch16_224", depth=4), 4
    batch = {"index": torch.arange(n), "rng": 1, "x": torch.zeros(n, 3, 224, 224), "y": torch.zeros(n, dtype=torch.int64)}
    plain, spared = counted(model, batch, [16], Device()), counted(model, batch, [16], Device(), change=checkpointed)
    assert spared.activations < 0.5 * plain.activations and spared.peak < plain.peak
    with pytest.raises(NotApplicable, match="blocks"):
        counted(mlp(), batch_of(4), [4], Device(), change=checkpointed)


def test_lora_learns_what_its_paper_says() -> None:
    model = mlp()
    found = counted(model, batch_of(4), [4], Device(), change=with_lora)
    adapters = 8 * sum(m.in_features + m.out_features for m in model if isinstance(m, nn.Linear))
    assert found.learning == adapters and found.optimizer == 8 * adapters
    assert found.all == adapters + sum(p.numel() for p in model.parameters())
    with pytest.raises(NotApplicable, match="linear"):
        counted(nn.Sequential(nn.Conv2d(3, 64, 3), nn.Flatten(), nn.Linear(64, 2)), batch_of(4), [4], Device(), change=with_lora)


def test_bfloat16_halves_what_a_network_keeps() -> None:
    timm = pytest.importorskip("timm")
    model, n = timm.create_model("vit_tiny_patch16_224", depth=4), 2
    batch = {"index": torch.arange(n), "rng": 1, "x": torch.zeros(n, 3, 224, 224), "y": torch.zeros(n, dtype=torch.int64)}
    plain, half = (counted(model, batch, [8], Device("cpu", precision)).activations for precision in ("fp32", "bf16"))
    assert 0.4 * plain < half < 0.85 * plain


def test_a_step_that_depends_on_values_is_said_not_to_be_countable() -> None:
    with pytest.raises(Uncountable, match="Dynamic|DataDependent"):
        footprint(DependsOnValues(None, None, {}), mlp(), batch_of(4), [4], Device())


@pytest.mark.parametrize("slope", [1.0, 7.5, 1e6])
@pytest.mark.parametrize("memory", [10.0, 300.0, 5e5, 1e12])
def test_the_largest_batch_fits_and_the_next_one_hardly_would(slope: float, memory: float) -> None:
    found = largest(lambda n: int(100 + slope * n), 1000, int(memory))
    if found is None:
        assert 100 + slope > memory
        return
    assert 100 + slope * found <= memory
    assert found == 1000 or 100 + slope * (found + max(2, found // 25)) > memory


