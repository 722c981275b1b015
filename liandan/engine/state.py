"""All that a resume needs, in one place: tensors and JSON, no pickle.

A checkpoint's `model.safetensors` is what one would evaluate and serve (the moving average when there is one);
`optimizer.safetensors` and `state.json` hold the rest of what it takes to go on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from liandan.engine.sharing import Entries, Sharing
from liandan.runtime.device import Device
from liandan.tasks import Task

Files = tuple[dict[str, dict[str, Tensor]], dict[str, Any]]


class StateError(ValueError):
    """A checkpoint does not fit the model, the optimizer or the task it is given to."""


@dataclass
class Progress:
    """Where a run is.

    Attributes:
        step: steps made.
        seconds: spent in steps, over all sessions.
        limit: samples of a micro-batch the device's memory has room for; halved when it runs out.
        skipped: steps not learned because they were not finite.
        evaluated: the step of the newest evaluation.
        best, best_step: of the recipe's metric, at its evaluation.
        worse: evaluations since the best one.
        sums: {name: [sum, count]} of what was logged since the last row of metrics.jsonl.
        unreadable: indices of training samples that could not be read.
        reduced: what the evaluations have made of the learning rate, see schedule.judged.
    """

    step: int = 0
    seconds: float = 0.0
    limit: int = 0
    skipped: int = 0
    evaluated: int = 0
    best: float | None = None
    best_step: int = 0
    worse: int = 0
    sums: dict[str, list[float]] = field(default_factory=dict)
    unreadable: list[int] = field(default_factory=list)
    reduced: dict[str, float] = field(default_factory=dict)

    def add(self, logs: dict[str, float]) -> None:
        """Fold the means of one turn into the next row."""
        for name, value in logs.items():
            pair = self.sums.setdefault(name, [0.0, 0.0])
            pair[0] += value
            pair[1] += 1

    def take(self) -> dict[str, float]:
        """Means since the last call."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means


class Ema:
    """Exponential moving average of the weights (Polyak and Juditsky 1992), used for evaluation and kept in checkpoints.

    Args:
        decay: in (0, 1); the average of step t is decay * average + (1 - decay) * weights, with a decay of at most
            (1 + t) / (10 + t) so that the first steps do not weigh on it.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.mean = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                self.mean[name].lerp_(value.detach(), 1 - decay)
            else:
                self.mean[name].copy_(value)


class State:
    """The moving parts of a run, saved and restored together."""

    def __init__(self, model: nn.Module, sharing: Sharing, task: Task, device: Device, ema: float | None, limit: int) -> None:
        self.model, self.sharing, self.task, self.device = model, sharing, task, device
        self.ema = Ema(model, ema) if ema else None
        self.progress = Progress(limit=limit)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.sharing.optimizer

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with its averaged weights, for the length of an evaluation."""
        if self.ema is None:
            yield
            return
        live = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        _assign(self.model, self.ema.mean)
        try:
            yield
        finally:
            _assign(self.model, live)

    def files(self, entries: Entries) -> Files:
        """{file: {name: tensor}} and {file: JSON} of a checkpoint; tensors keyed by parameter name.

        Args:
            entries: the optimizer's, as all processes together tell them: `sharing.state()`.
        """
        live = dict(self.model.state_dict())
        rest = {f"live/{k}": v for k, v in live.items()} if self.ema else {}
        scalars: dict[str, Any] = {}
        for name, entry in entries.items():
            for key, value in entry.items():
                if isinstance(value, Tensor):
                    rest[f"optimizer/{name}/{key}"] = value
                else:
                    scalars[f"{name}/{key}"] = value
        task, tensors = flatten(self.task.state_dict(), "task")
        rest |= tensors
        state = {"progress": asdict(self.progress), "optimizer": scalars, "task": task, "scaler": self.device.scaler.state_dict()}
        found = {"model.safetensors": self.ema.mean if self.ema else live, "optimizer.safetensors": rest}
        return {file: {k: v.detach().cpu() for k, v in content.items()} for file, content in found.items()}, {"state.json": state}

    def restore(self, tensors: dict[str, dict[str, Tensor]], documents: dict[str, Any]) -> None:
        """Take a checkpoint's place.

        Raises:
            StateError: a tensor is missing or has another shape; names the first, with both shapes.
        """
        state, model, rest = documents["state.json"], tensors["model.safetensors"], tensors["optimizer.safetensors"]
        live = {k.removeprefix("live/"): v for k, v in rest.items() if k.startswith("live/")}
        _check(self.model.state_dict(), live or model)
        _assign(self.model, live or model)
        if self.ema:
            # without an average in the checkpoint (the recipe has just asked for one) it begins at the weights
            self.ema.mean = {k: v.detach().clone().to(self.device.name) for k, v in model.items()}
        entries: dict[str, dict[str, Any]] = {}
        tensors_of = {k.removeprefix("optimizer/"): v for k, v in rest.items() if k.startswith("optimizer/")}
        for path, value in {**tensors_of, **state["optimizer"]}.items():
            name, _, key = path.rpartition("/")
            entries.setdefault(name, {})[key] = value
        self.sharing.load(entries)
        self.task.load_state_dict(inflate(state["task"], rest))
        self.device.scaler.load_state_dict(state["scaler"]) if state["scaler"] else None
        self.progress = Progress(**state["progress"])


@torch.no_grad()
def _assign(model: nn.Module, values: dict[str, Tensor]) -> None:
    for name, own in model.state_dict().items():
        own.copy_(values[name])


def _check(own: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    for name, tensor in own.items():
        if name not in given:
            raise StateError(
                f"the checkpoint has no tensor {name} ({tuple(tensor.shape)}): it belongs to another architecture; "
                "start a new run for this one"
            )
        if given[name].shape != tensor.shape:
            raise StateError(
                f"{name}: the model expects shape {tuple(tensor.shape)}, the checkpoint has {tuple(given[name].shape)}: "
                "the architecture was changed; start a new run for it, or resume with the run's own recipe"
            )
    extra = next((k for k in given if k not in own), None)
    if extra:
        raise StateError(
            f"the checkpoint has a tensor {extra} ({tuple(given[extra].shape)}) that the model lacks: it belongs to another architecture"
        )


def flatten(value: Any, path: str, tensors: dict[str, Tensor] | None = None) -> tuple[Any, dict[str, Tensor]]:
    """Nested dicts, lists, tensors and JSON values -> (JSON skeleton, {path: tensor}); `inflate` is its inverse."""
    tensors = {} if tensors is None else tensors
    if isinstance(value, Tensor):
        tensors[path] = value.detach().contiguous()
        return {"$tensor": path}, tensors
    if isinstance(value, dict):
        return {"$dict": [[k, flatten(v, f"{path}/{k}", tensors)[0]] for k, v in value.items()]}, tensors
    if isinstance(value, list | tuple):
        return [flatten(v, f"{path}/{i}", tensors)[0] for i, v in enumerate(value)], tensors
    return value, tensors


def inflate(skeleton: Any, tensors: dict[str, Tensor]) -> Any:
    """The value `flatten` took apart."""
    if isinstance(skeleton, dict):
        return tensors[skeleton["$tensor"]].clone() if "$tensor" in skeleton else {k: inflate(v, tensors) for k, v in skeleton["$dict"]}
    return [inflate(v, tensors) for v in skeleton] if isinstance(skeleton, list) else skeleton
