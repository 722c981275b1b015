"""How processes share one optimizer step: the gradient of all of them, the check before it, the step itself, and the optimizer's state."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from liandan.engine import optim
from liandan.recipe import Recipe
from liandan.runtime.device import Device

if TYPE_CHECKING:
    from liandan.runtime.assemble import Parts

Named = Sequence[tuple[str, nn.Parameter]]
Entries = dict[str, dict[str, Any]]  # {parameter: {key: tensor of its shape, or number}}


class Sharing(Protocol):
    """What a turn and a checkpoint ask of the processes. Every method is collective unless it says otherwise."""

    optimizer: torch.optim.Optimizer  # what learns, with the rates that the schedule sets
    again: bool  # whether a turn that ran out of memory on one process can be made again by all

    def drop(self) -> None:
        """Forget all gradients (not collective)."""
        ...

    def begin(self, batches: int, learns: str) -> int:
        """Forget all gradients; parameters whose name begins with `learns` are to learn from so many micro-batches of this process.

        Returns:
            How often it has to call `backward` without an objective beside them.
        """
        ...

    def backward(self, objective: Tensor | None) -> None:
        """The gradient of one micro-batch; None where a process has none while others do."""
        ...

    def gradient_norm(self) -> Tensor:
        """The norm of the sum over processes."""
        ...

    def step(self, norm: Tensor, clip_norm: float | None) -> None:
        """Clip by the norm, and learn."""
        ...

    def state(self) -> Entries:
        """The optimizer's whole state, by name."""
        ...

    def load(self, entries: Entries) -> None:
        """Take a state's place (not collective)."""
        ...


class Reduced:
    """Every process holds all gradients and the whole optimizer; gradients are summed, and each makes the same step."""

    again = True

    def __init__(self, named: Named, optimizer: torch.optim.Optimizer, device: Device) -> None:
        self.named, self.optimizer, self.device = list(named), optimizer, device
        self.learns = ""
        self.learning: list[nn.Parameter] = []
        names = {id(p): n for n, p in self.named}
        self.order = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]  # by which torch numbers its state

    def drop(self) -> None:
        for _, parameter in self.named:
            parameter.grad = None

    def begin(self, batches: int, learns: str) -> int:
        self.drop()
        self.learns = learns
        return 0

    def backward(self, objective: Tensor | None) -> None:
        if objective is not None:
            self.device.scaler.scale(objective).backward()

    def gradient_norm(self) -> Tensor:
        for name, parameter in self.named:
            if not name.startswith(self.learns):
                parameter.grad = None  # the other player's gradient passed through; it does not learn in this turn
        learning = [p for n, p in self.named if n.startswith(self.learns)]
        used = self.device.sum([p.grad is not None for p in learning])  # unused everywhere stays None, or AdamW would decay it
        self.learning = [p for p, u in zip(learning, used, strict=True) if u > 0]
        for parameter in self.learning:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in self.learning if p.grad is not None]
        self.device.reduce(gradients)
        if self.device.scaler.is_enabled():
            self.device.scaler.unscale_(self.optimizer)
        return torch.nn.utils.get_total_norm(gradients)

    def step(self, norm: Tensor, clip_norm: float | None) -> None:
        if clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self.learning, clip_norm, norm)
        # with fp16 the scaler leaves a step out whose scaled gradient overflowed, and lowers the scale
        self.device.scaler.step(self.optimizer)
        self.device.scaler.update()

    def state(self) -> Entries:
        kept: Mapping[int, dict[str, Any]] = self.optimizer.state_dict()["state"]
        return {name: dict(kept[i]) for i, name in enumerate(self.order) if i in kept}

    def load(self, entries: Entries) -> None:
        parameters = dict(self.named)
        state = {
            i: {key: _like(value, parameters[name]) if isinstance(value, Tensor) else value for key, value in entries[name].items()}
            for i, name in enumerate(self.order)
            if name in entries
        }
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})


class Unsupported(ValueError):
    """What DeepSpeed is asked to do, it cannot do here; the text says what to do instead."""


def check(recipe: Recipe, device: Device) -> None:
    """Refuse what cannot be shared as the recipe asks, before anything is made.

    Raises:
        Unsupported: DeepSpeed is not installed, there is one process alone, or the precision is fp16.
    """
    if recipe.distributed.strategy != "deepspeed":
        return
    if importlib.util.find_spec("deepspeed") is None:
        raise Unsupported("distributed.strategy=deepspeed needs the package deepspeed: pip install 'liandan[deepspeed]', or leave it out")
    if device.world == 1:
        raise Unsupported("distributed.strategy=deepspeed shares one optimizer among processes: start it with --processes 2 or more")
    if recipe.train.precision == "fp16":
        raise Unsupported("distributed.strategy=deepspeed: expected train.precision bf16 or fp32, got fp16")


def of(parts: Parts) -> Sharing:
    """The optimizer of a run's parts, shared as its recipe asks."""
    asked, optimizer = parts.recipe.distributed, optim.of(parts)
    if asked.strategy == "deepspeed":
        from liandan.engine.zero import Zero

        return Zero(parts.model, parts.named, optimizer, parts.device, asked.zero, parts.recipe.train.clip_norm)
    return Reduced(parts.named, optimizer, parts.device)


def _like(value: Tensor, parameter: Tensor) -> Tensor:
    """An optimizer's tensor in memory of torch's own, laid out as its parameter is: fused kernels walk both by address, and a file
    knows nothing of channels-last."""
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value) if value.shape == parameter.shape else value.clone()
