"""How many bytes a training step needs, counted without taking them.

The task's own `prepare`, `turns` and `loss` run forward and backward on a twin of the model whose tensors are fake
(torch.FakeTensorMode: shapes, types and devices, no memory), and every storage that comes to life or dies is written down. What is
found is the largest sum of living storages, and what they were: the same for any model and any task, with no formula for a layer.
"""

from __future__ import annotations

import copy
import functools
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import checkpoint

from liandan.engine import optim
from liandan.runtime.compiled import blocks
from liandan.runtime.device import Device
from liandan.tasks import Task, Turn

Batch = dict[str, Any]
Change = Callable[[nn.Module], Any]  # made on the twin before the step; raises NotApplicable where it changes nothing

KINDS = ("parameters", "gradients", "optimizer", "average", "batch", "activations", "temporaries")
_UNCOUNTABLE = (
    DataDependentOutputException, DynamicOutputShapeException, UnsupportedFakeTensorException, UnsupportedOperatorException,
    NotImplementedError,
)  # fmt: skip
_RANK = 8  # of the LoRA that is tried


class Uncountable(Exception):
    """A step whose memory depends on values, which fake tensors have not; the message says where."""


class NotApplicable(Exception):
    """A change that this model does not offer anything for; the message says why."""


@dataclass(frozen=True)
class Footprint:
    """Bytes at the largest moment of a step, by kind; the kinds sum to `peak`.

    Attributes:
        parameters: with the buffers.
        gradients: those that exist at that moment.
        optimizer: its state, moments and such.
        average: the moving average of the weights.
        batch: the samples of the step, as loaded and as placed on the device, and what the task prepares of them.
        activations: what the forward pass made and has not let go.
        temporaries: what the backward pass made, gradients aside.
        learning, all: numbers of parameters.
    """

    parameters: int
    gradients: int
    optimizer: int
    average: int
    batch: int
    activations: int
    temporaries: int
    learning: int
    all: int

    @property
    def peak(self) -> int:
        return sum(getattr(self, kind) for kind in KINDS)


class Living(TorchDispatchMode):
    """Bytes of all storages that live while it is entered, by the kind that was current when they were made."""

    def __init__(self) -> None:
        super().__init__()
        self.kind = "activations"
        self.now: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self._known: dict[int, tuple[weakref.ref[Any], list[Any]]] = {}  # by the storage's id: its death notice, and [kind, bytes]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self.note, out)
        if self.now.total() > self.peak.total():
            self.peak = self.now.copy()
        return out

    def note(self, tensor: Tensor, kind: str | None = None) -> None:
        """Count the tensor's storage; one that is counted already changes its kind if one is given."""
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._known:
            entry = self._known[key][1]
            if kind is not None:
                self.now[entry[0]] -= entry[1]
                self.now[kind] += entry[1]
                entry[0] = kind
            return
        entry = [kind or self.kind, storage.nbytes()]
        self.now[entry[0]] += entry[1]
        self._known[key] = weakref.ref(storage, functools.partial(self._died, key)), entry

    def _died(self, key: int, _: Any) -> None:
        kind, size = self._known.pop(key)[1]
        self.now[kind] -= size


def footprint(
    task: Task,
    model: nn.Module,
    batch: Batch,
    sizes: Sequence[int],
    device: Device,
    *,
    optimizer: tuple[str, Mapping[str, Any]] = ("adamw", {}),
    average: bool = False,
    change: Change = lambda model: None,
) -> Footprint:
    """The memory of one step of `task`, when the optimizer has its state already.

    Args:
        model: on the device, in the modes it trains in; neither changed nor run.
        batch: a micro-batch as the loader gives it, before it is placed on the device.
        sizes: samples of each micro-batch of the step; all of them are like those of `batch`.
        optimizer: name and arguments.
        average: whether a moving average of the weights is kept.
        change: made on the fake twin of the model, to see what it would spare.

    Raises:
        Uncountable: the task or the model asks for values in the middle of the step.
        NotApplicable: from `change`.
    """
    mode, living = FakeTensorMode(allow_non_fake_inputs=True), Living()
    twin = fake_twin(mode, model)
    try:
        with mode, living:
            change(twin)
            weights = list({id(t): t for t in chain(twin.parameters(), twin.buffers())}.values())
            for tensor in weights:
                living.note(tensor, "parameters")
            learning = [(n, p) for n, p in twin.named_parameters() if p.requires_grad]
            for _, parameter in learning:
                parameter.register_post_accumulate_grad_hook(functools.partial(_gradient, living))
            living.kind = "optimizer"
            states = [torch.empty_like(p) for _, p in learning for _ in range(states_a_parameter(*optimizer))]
            living.kind = "average"
            mean = [t.clone() for t in weights] if average else []
            living.kind = "batch"
            loaded = [resized(batch, size) for size in sizes]
            _step(task, twin, learning, loaded, device, living)
            del states, mean
    except _UNCOUNTABLE as error:
        raise Uncountable(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
    all_ = sum(p.numel() for p in twin.parameters())
    return Footprint(**{kind: living.peak[kind] for kind in KINDS}, learning=sum(p.numel() for _, p in learning), all=all_)


def _step(
    task: Task, model: nn.Module, learning: list[tuple[str, nn.Parameter]], batches: list[Batch], device: Device, living: Living
) -> None:  # fmt: skip
    """What engine.train.make_step and engine.turn.accumulate hold in memory, in their order."""
    placed = [device.move(batch) for batch in batches]
    if device.kind != "cpu":
        batches.clear()  # they are in the host's memory
    with torch.no_grad(), device.autocast():
        placed = [task.prepare(model, batch) for batch in placed]
    turns = task.turns(model, placed, device)
    while True:
        with torch.no_grad(), device.autocast():
            turn = next(turns, None)
        if turn is None:
            return
        _turn(task, model, learning, turn, device, living)


def _turn(
    task: Task, model: nn.Module, learning: list[tuple[str, nn.Parameter]], turn: Turn, device: Device, living: Living
) -> None:  # fmt: skip
    for _, parameter in learning:
        parameter.grad = None
    for batch in turn.batches:
        living.kind = "activations"
        with device.autocast():
            sums, _ = task.loss(model, batch)
        objective = torch.stack(list(sums.values())).sum()
        living.kind = "temporaries"
        if objective.requires_grad:
            objective.backward()
    turn.logs = defaultdict(float)  # a task may read what the engine would have logged; no value is known here
    for name, parameter in learning:
        if not name.startswith(turn.learns):
            parameter.grad = None


def _gradient(living: Living, parameter: nn.Parameter) -> None:
    if parameter.grad is not None:
        living.note(parameter.grad, "gradients")


def states_a_parameter(name: str, arguments: Mapping[str, Any]) -> int:
    """Tensors of a parameter's shape that the optimizer keeps for it: looked up on a small one, after a step."""
    toy = nn.Parameter(torch.zeros(4, 4))
    tried = optim.build(name, [toy], arguments)
    for _ in range(2):
        toy.grad = torch.ones_like(toy)
        tried.step()
    return sum(isinstance(v, Tensor) and v.shape == toy.shape for v in tried.state[toy].values())


def fake_twin(mode: FakeTensorMode, model: nn.Module) -> Any:
    """The model with fake tensors in place of its parameters and buffers, shared ones still shared."""
    memo: dict[int, Any] = {id(t): mode.from_tensor(t) for t in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, memo)


def resized(batch: Batch, size: int) -> Batch:
    """`size` samples like those of `batch`, made in the mode that is entered; what has an entry a sample is known as in `Task.split`."""
    n = len(batch["index"])

    def like(value: Any) -> Any:
        if isinstance(value, Tensor):
            per_sample = value.dim() > 0 and len(value) == n
            return torch.empty((size, *value.shape[1:]) if per_sample else value.shape, dtype=value.dtype)
        return [value[i % n] for i in range(size)] if isinstance(value, list) and len(value) == n else value

    return {k: like(v) for k, v in batch.items()}


# -- changes to try ------------------------------------------------------------------------------------------------------------


def checkpointed(model: nn.Module) -> None:
    """Gradient checkpointing of every repeated block (Chen et al., "Training deep nets with sublinear memory cost", 2016).

    See `runtime.compiled.blocks`.
    """
    found = list(blocks(model))
    if not found:
        raise NotApplicable("the model has no repeated blocks")
    for block in found:
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)


def with_lora(model: nn.Module) -> None:
    """Low-rank adapters on every linear layer, all else frozen (Hu et al., "LoRA", 2021): y = W x + B A x, A (rank, in), B (out, rank)."""
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    whole, inside = sum(p.numel() for p in model.parameters()), sum(p.numel() for m in linear for p in m.parameters())
    if 2 * inside < whole:
        raise NotApplicable(f"only {inside / max(whole, 1):.0%} of the parameters are in linear layers")
    model.requires_grad_(False)
    for module in linear:
        like = module.weight
        module.lora_a = nn.Parameter(torch.randn(_RANK, module.in_features, dtype=like.dtype, device=like.device) / _RANK)
        module.lora_b = nn.Parameter(torch.zeros(module.out_features, _RANK, dtype=like.dtype, device=like.device))
        module.register_forward_hook(_adapted)


def _adapted(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output + (inputs[0] @ module.lora_a.T) @ module.lora_b.T
