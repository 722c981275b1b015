"""A model as a graph of tensors, which other runtimes compute, and such a graph called as the model it was made of."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from liandan.tasks import Task

Answer = Callable[[list[np.ndarray]], list[np.ndarray]]  # arrays in the order of the graph's inputs -> of its outputs

Shapes = Mapping[str, list[int | str]]  # {input: its sizes, a name where they may vary}

# what may vary beside the batch, by the entry of a batch that has it: {entry: {dimension: name}}
_AXES = {"image": {2: "height", 3: "width"}, "ids": {1: "length"}, "mask": {1: "length"}}
_BATCH = "batch"
_PADDED_BY_SIZE = "Same"  # how timm calls such layers: Conv2dSame, MaxPool2dSame
_OTHER = {"height": 32, "width": 64, "length": -1}  # a graph whose axes vary is tried at sizes that differ by so much from the example's
_BOUND = 1e-3  # largest difference of two outputs, as a fraction of the largest: above what another order of sums rounds


class GraphError(Exception):
    """A model that is no graph of tensors; the text says why."""


@dataclass(frozen=True)
class Graph:
    """A model, traced.

    Attributes:
        program: what torch.export made of it, in float32.
        inputs: names, in the order in which the model takes them; the task's own names where it has them.
        outputs: names, in the order of `returns`: "tensor", "tuple" or "dict".
        shapes: {input: its sizes, a name where they may vary}.
        attends: whether it is a transformer, whose activations are quantized otherwise.
    """

    program: torch.export.ExportedProgram
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    returns: str
    shapes: Shapes
    attends: bool

    @property
    def varies(self) -> list[str]:
        """Names of what may vary, such as batch, height, width."""
        return list(dict.fromkeys(size for sizes in self.shapes.values() for size in sizes if isinstance(size, str)))


def trace(task: Task, model: nn.Module) -> Graph:
    """The graph of a model: any batch, and any size of an image or length of a text where the model allows it.

    torch.export takes sizes of 0 and 1 for constants, so the example has a batch of two.

    Args:
        model: in evaluation mode, float32, on the CPU.

    Raises:
        GraphError: the task needs more than one pass of the model, or torch.export cannot follow the model.
    """
    if task.no_graph:
        raise GraphError(task.no_graph)
    example = task.example_inputs(model)
    names, arguments, returned = _called(task, model, example)
    kind, outputs, _ = flat(returned)
    attends = any("attention" in type(module).__name__.lower() for module in model.modules())
    # TensorFlow's padding is a formula of the size, layer upon layer of all formulas before it: torch.export is lost in them for minutes
    fixed = any(type(module).__name__.endswith(_PADDED_BY_SIZE) for module in model.modules())
    reasons = []
    for axes in ([{} if fixed else _AXES.get(name, {}) for name in names], [{} for _ in names]):
        try:
            program = _export(model, arguments, axes)
            shapes = _shapes(program, names, axes)
            if shapes[names[0]][0] != _BATCH:
                raise GraphError(f"its batch is fixed at {shapes[names[0]][0]}")
            graph = Graph(program, names, _named(task, model, example, outputs), kind, shapes, attends)
            _try_other_sizes(model, graph, arguments)
            return graph
        except Exception as error:  # torch.export's own are of many kinds; the next try is a simpler one
            reasons.append(str(error).strip().partition("\n")[0] or type(error).__name__)
        if not any(axes):
            break
    raise GraphError(f"torch.export cannot follow {type(model).__name__}: {reasons[-1]}")


def _called(task: Task, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[tuple[str, ...], tuple[Tensor, ...], Any]:
    """(names, tensors) that the task's forward gives the model, and what the model returns."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = []
    handle = model.register_forward_hook(lambda _, given, named, out: calls.append((given, named, out)), with_kwargs=True)
    try:
        with torch.no_grad():
            task.forward(model, inputs)
    finally:
        handle.remove()
    if len(calls) != 1 or calls[0][1] or not all(isinstance(value, Tensor) for value in calls[0][0]):
        raise GraphError(f"expected one call with tensors, this task calls its model {len(calls)} times or with other things")
    arguments = calls[0][0]
    names = tuple(next((n for n, value in inputs.items() if value is given), f"input_{i}") for i, given in enumerate(arguments))
    return names, arguments, calls[0][2]


def _export(model: nn.Module, arguments: tuple[Tensor, ...], axes: list[dict[int, str]]) -> torch.export.ExportedProgram:
    dim = torch.export.Dim
    shapes = tuple({0: dim.DYNAMIC, **dict.fromkeys(extra, dim.AUTO)} for extra in axes)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its one fused operation is torch's alone
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(model, arguments, dynamic_shapes=(shapes,) if _starred(model) else shapes)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _starred(model: nn.Module) -> bool:
    """Whether the model's forward is `*args`, whose shapes torch.export wants one level deeper."""
    return any(p.kind is p.VAR_POSITIONAL for p in list(inspect.signature(model.forward).parameters.values())[:1])


def _shapes(program: torch.export.ExportedProgram, names: Sequence[str], axes: list[dict[int, str]]) -> dict[str, list[int | str]]:
    """{input: sizes}: torch.export may have found that a size that was free cannot vary."""
    given = program.graph_signature.user_inputs
    found = {node.name: node.meta["val"].shape for node in program.graph.nodes if node.op == "placeholder"}
    return {
        name: [size if isinstance(size, int) else {0: _BATCH, **extra}[d] for d, size in enumerate(found[own])]
        for name, own, extra in zip(names, map(str, given), axes, strict=True)
    }


def _named(task: Task, model: nn.Module, example: dict[str, Tensor], outputs: list[str]) -> tuple[str, ...]:
    """The task's name of the output, where the model returns one tensor and the task one, too."""
    if len(outputs) > 1:
        return tuple(outputs)
    with torch.no_grad():
        named = task.forward(model, example)
    return tuple(named) if len(named) == 1 else tuple(outputs)


def _try_other_sizes(model: nn.Module, graph: Graph, arguments: tuple[Tensor, ...]) -> None:
    """Raise GraphError where the graph differs from the model at another batch and other sizes than those it was traced at."""
    other = []
    for name, value in zip(graph.inputs, arguments, strict=True):
        sizes = list(value.shape)
        for d, axis in enumerate(graph.shapes[name]):
            sizes[d] = 3 if axis == _BATCH else sizes[d] + _OTHER[axis] if isinstance(axis, str) else sizes[d]
        draw = torch.Generator().manual_seed(0)
        other.append(torch.randn(sizes, generator=draw) if value.is_floating_point() else torch.ones(sizes, dtype=value.dtype))
    with torch.no_grad():
        wanted, made = flat(model(*other))[2], flat(graph.program.module()(*other))[2]
    if not all(agree(w, m) for w, m in zip(wanted, made, strict=True)):
        raise GraphError("the graph answers otherwise at other sizes")


def agree(wanted: Tensor, made: Tensor, bound: float = _BOUND) -> bool:
    """Whether two outputs differ by no more than a fraction of the largest one."""
    return difference(wanted, made) <= bound * max(1.0, float(wanted.abs().max()))


def difference(wanted: Tensor, made: Tensor) -> float:
    """The largest absolute difference of two tensors; infinite where their shapes differ or one holds what is no number."""
    if wanted.shape != made.shape:
        return math.inf
    off = float((wanted.double() - made.double()).abs().max()) if wanted.numel() else 0.0
    return math.inf if math.isnan(off) else off


def flat(returned: Any) -> tuple[str, list[str], list[Tensor]]:
    """(kind, names, tensors) of what a model returns: a tensor, a tuple or a dict of them. Raises GraphError for anything else."""
    if isinstance(returned, Tensor):
        kind, items = "tensor", {"output": returned}
    elif isinstance(returned, dict):
        kind, items = "dict", dict(returned)
    elif isinstance(returned, tuple | list):
        kind, items = "tuple", {f"output_{i}": value for i, value in enumerate(returned)}
    else:
        kind, items = "", {"": returned}
    if not all(isinstance(value, Tensor) for value in items.values()):
        raise GraphError(f"expected a model that returns tensors, this one returns {type(returned).__name__}")
    return kind, list(items), list(items.values())


class Session(nn.Module):
    """A graph in its runtime, called as the model it was made of: so a task's forward, judge and decode need know nothing of it.

    Args:
        answer: of the runtime, arrays to arrays.
        outputs, returns: of the graph.
    """

    def __init__(self, answer: Answer, outputs: Sequence[str], returns: str) -> None:
        super().__init__()
        self.answer, self.outputs, self.returns = answer, tuple(outputs), returns

    def forward(self, *inputs: Tensor) -> Any:
        """What the model returns, on the CPU, without a gradient."""
        # laid out anew by numpy: torch would do it with all its threads, which then spin where the runtime's want to work
        made = [torch.from_numpy(array) for array in self.answer([np.ascontiguousarray(value.detach().numpy()) for value in inputs])]
        if self.returns == "tensor":
            return made[0]
        return dict(zip(self.outputs, made, strict=True)) if self.returns == "dict" else tuple(made)
