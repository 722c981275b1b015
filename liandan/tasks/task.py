"""The seam: what a task owes the engine. The engine knows nothing else about any task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

TARGETS = {"one": "one class for each image", "several": "any number of classes for each image", "heads": "one class of each head"}

Batch = dict[str, Any]
Row = dict[str, Any]
Sums = dict[str, Tensor]
Logs = dict[str, tuple[Tensor, float | Tensor]]


class World(Protocol):
    """The processes that train together, as a task sees them."""

    rank: int
    world: int

    def sum(self, values: Sequence[float]) -> list[float]: ...
    def gather(self, thing: Any) -> list[Any]: ...
    def move(self, batch: Batch) -> Batch: ...
    def autocast(self) -> AbstractContextManager[Any]: ...


@dataclass
class Turn:
    """One optimizer step.

    Attributes:
        batches: this process's micro-batches; may be empty.
        learns: prefix of the names of the parameters that learn; "" is all that are trainable.
        logs: filled by the engine after the step, {name: mean over all processes}.
        skipped: set by the engine when a non-finite gradient kept the step from being made.
    """

    batches: list[Batch]
    learns: str = ""
    logs: dict[str, float] = field(default_factory=dict)
    skipped: bool = False


@dataclass
class Findings:
    """What the rows of a judged split show beside its metrics.

    Attributes:
        figures: {file stem: drawing as plain data} for the evaluation's folder, see runs.plots.figure.
        tables: {file stem: lines as {column: value}} for the evaluation's folder.
        mistakes: samples worth a look, the worst first: `index`, and words and numbers to show beside it.
    """

    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    mistakes: list[dict[str, Any]] = field(default_factory=list)


class Task:
    """A task: batches to losses, outputs to judgements. Subclasses write most often count, loss, forward, judge and summary.

    Args:
        loss: {name, **arguments} of the recipe's loss section, or None for the task's own.
        labels: class names in the order of their indices, or None.
        data: what the data pipeline tells a model (`pipeline.describe()`): channels and size, or vocabulary and context; while it
            trains also `class_counts`, the training samples of each class, and `packing`, whether several samples may share a row.

    Raises:
        ValueError: arguments of the loss that do not fit the classes.
    """

    kind: ClassVar[str]  # the data pipeline that feeds it, a name of data.PIPELINES
    inputs: ClassVar[tuple[str, ...]]  # the entries of a batch that `forward` needs
    metrics: ClassVar[tuple[str, ...]] = ()  # what is measured unless the recipe says otherwise
    best: ClassVar[tuple[str, str]]  # metric and mode ("min" or "max") by which a checkpoint is best, unless the recipe says otherwise
    losses: ClassVar[Mapping[str, Callable[..., Tensor]]] = {}  # names for the recipe's loss section; keyword arguments are checked
    views: ClassVar[Mapping[str, Callable[[Tensor], Tensor]]] = {}  # names for evaluate.tta: other looks at the same sample
    targets: ClassVar[str] = ""  # what the data must say of a sample, a key of TARGETS; "" for tasks that do not ask
    no_graph: ClassVar[str] = ""  # why one pass of `forward` is not all that predicting takes, if it is not: no ONNX, no OpenVINO then
    packs: ClassVar[bool] = False  # whether it can compute several samples in one row, as data.text.packing asks
    couples: ClassVar[str] = ""  # why samples of a batch depend on each other, if they do: law 1 is then the task's own

    def __init__(self, loss: Mapping[str, Any] | None, labels: Sequence[str] | None, data: Mapping[str, Any]) -> None:
        self.labels = list(labels) if labels is not None else None
        self.data = dict(data)
        arguments = dict(loss or {"name": next(iter(self.losses), "")})
        self.loss_name = arguments.pop("name")
        self.loss_arguments = arguments
        self.asked: tuple[str, ...] = self.metrics
        self.tta: tuple[str, ...] = ()
        self.teachers: dict[str, nn.Module] = {}  # what `taught_by` names, opened while the task trains

    @classmethod
    def knows(cls, metric: str) -> bool:
        """Whether `summary` can give a metric of this name, if asked."""
        return metric in cls.metrics

    @classmethod
    def known_metrics(cls) -> tuple[Sequence[str], str]:
        """(names, the same in words) for the fault of a name that is not known."""
        return cls.metrics, f"one of: {', '.join(cls.metrics)}"

    def ask(self, metrics: Sequence[str], tta: Sequence[str] = ()) -> list[str]:
        """Be told the metrics that are wanted, and the views that an answer averages over.

        Returns:
            What cannot be had of this data, in sentences.
        """
        self.asked, self.tta = tuple(metrics), tuple(tta)
        return []

    def notices(self) -> list[str]:
        """What a reader of the metrics should know, said once."""
        return []

    @classmethod
    def recognize(cls, path: Path, has_weights: Callable[[str], bool], model: str | None) -> dict[str, Any] | None:
        """A recipe's values for plain data at `path`, or None when this is not data for this task.

        Args:
            has_weights: whether a model's pretrained weights are on this machine already.
            model: the name of the model that is asked for, if one is.
        """
        return None

    @classmethod
    def try_loss(cls, name: str, arguments: Mapping[str, Any]) -> None:
        """Raise ValueError or TypeError for values that a loss of `losses` does not take, as far as can be seen without data."""

    def model_arguments(self) -> dict[str, Any]:
        """What the data says the model must be told: {"num_classes": 10, "in_chans": 1}, {"vocab_size": 4096, "context": 128}."""
        raise NotImplementedError

    # -- training ---------------------------------------------------------------------------------------------------------
    def prepare(self, model: nn.Module, batch: Batch) -> Batch:
        """Everything that is drawn or computed once a step without gradient: noise, rollouts, references. No collectives."""
        return batch

    def turns(self, model: nn.Module, batches: list[Batch], world: World) -> Iterator[Turn]:
        """The optimizer steps of one step of the run; lazy, and code after a yield runs after that optimizer step."""
        yield Turn(batches)

    def count(self, batch: Batch) -> dict[str, float]:
        """What each loss of `loss` is divided by once summed over all micro-batches and processes; known before any backward."""
        return {"loss": len(batch["index"])}

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Sums, Logs]:
        """({name: SUM over the batch}, {log name: (sum, count)}): the objective is the sum over names of SUM / global count."""
        raise NotImplementedError

    def taught_by(self) -> dict[str, str]:
        """{recipe key: `run:<run>`} of trained models that the task asks in `prepare`; they come into `teachers`, frozen, by these keys."""
        return {}

    def frozen_modules(self, model: nn.Module) -> list[nn.Module]:
        """Modules that neither learn nor leave evaluation mode."""
        return []

    def split(self, batch: Batch, size: int) -> list[Batch]:
        """The batch in parts of at most `size` samples, for a device whose memory it exceeds: entries of the batch's length are cut."""
        n = len(batch["index"])

        def part(value: Any, at: int) -> Any:
            per_sample = (isinstance(value, Tensor) and value.dim() > 0 and len(value) == n) or (
                isinstance(value, list) and len(value) == n
            )
            return value[at : at + size] if per_sample else value

        return [{k: part(v, at) for k, v in batch.items()} for at in range(0, n, size)]

    # -- judging ----------------------------------------------------------------------------------------------------------
    def forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Plain tensors in and out, the same for a module and for an exported artefact."""
        raise NotImplementedError

    def answer(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The outputs that are judged and decoded: those of `forward`, or what a task makes of several views of each sample."""
        return self.forward(model, {name: batch[name] for name in self.inputs})

    def judge(self, outputs: dict[str, Tensor], batch: Batch) -> list[Row]:
        """One row a sample: JSON values (or short lists of numbers), `index` among them."""
        raise NotImplementedError

    def summary(self, rows: list[Row]) -> dict[str, float]:
        """{metric: value} of a split from all of its rows; nothing else enters. At least the metrics in `asked`."""
        raise NotImplementedError

    def measured(self, rows: list[Row]) -> dict[str, float]:
        """The metrics that are asked for, of a split's rows."""
        found = self.summary(rows)
        return {name: found[name] for name in self.asked}

    def findings(self, rows: list[Row]) -> Findings:
        """What to draw, to tabulate and to look at of a split's rows."""
        return Findings()

    def answers(
        self, model: nn.Module, pipeline: Any, samples: Any, world: World, limit: int, shots: Sequence[tuple[str, str]] = ()
    ) -> tuple[list[dict[str, Any]], dict[str, float]]:
        """What the model writes for at most `limit` samples of a split, judged: one JSON row an answer, and {metric: value} of them all.

        Beside the metrics of `summary`, for it takes long. Nothing for tasks that write none.

        Args:
            shots: questions with their right answers, shown before each.
        """
        return [], {}

    # -- using ------------------------------------------------------------------------------------------------------------
    def decode(self, outputs: dict[str, Tensor]) -> list[dict[str, Any]]:
        """Predictions as a person or a program wants them, one a sample."""
        raise NotImplementedError

    def predict(self, model: nn.Module, pipeline: Any, inputs: Sequence[Any], world: World) -> list[dict[str, Any]]:
        """Predictions for files, prompts, or examples that the pipeline made already; the same collate and answer as in evaluation."""
        examples = [item if isinstance(item, dict) else pipeline.example(item) for item in inputs]
        batch = world.move(pipeline.collate(examples))
        with torch.no_grad(), world.autocast():
            return self.decode(self.answer(model, batch))

    def show(self, model: nn.Module, pipeline: Any, samples: Any, seed: int, world: World) -> dict[str, str | bytes]:
        """Samples to look at beside the curves, {file suffix: text or PNG bytes}: the same ones at every evaluation.

        `samples` is the validation split.
        """
        return {}

    def example_inputs(self, model: nn.Module) -> dict[str, Tensor]:
        """Inputs of `forward` with a batch of two, for summaries and exports."""
        raise NotImplementedError

    # -- resuming ---------------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """What the task itself must remember between steps; tensors and JSON values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        return None
