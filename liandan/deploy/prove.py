"""What a graph is worth beside the run's own model: the same outputs, the same judgement by the same code, and how fast it is."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from liandan.deploy.graph import Session, agree, difference, flat
from liandan.runs.layout import RunError
from liandan.runtime.opened import DataError, OpenRun, Unreadable
from liandan.tasks.evaluation import evaluate

TIMED = (1, 16)  # samples at once
VERIFIED = (1, 2, 3)
_ROUNDS, _BLOCK, _CALLS = 5, 0.05, 50  # in each round a model is called for so many seconds, at most so often
_COMPARED = 1000  # validation samples whose outputs are compared

Inputs = dict[str, Tensor]


class Unlike(Exception):
    """A graph does not answer as the run's model does; the text has the figures."""


@dataclass
class Speed:
    """How fast a model is.

    Attributes:
        latency_ms: {samples at once: median milliseconds}.
        samples_per_second: at the best of these.
    """

    latency_ms: dict[str, float]
    samples_per_second: float


class Data:
    """Real samples of a run, as they are judged; where it has no validation data, inputs that are drawn.

    Attributes:
        missing: why there is no validation data, or empty.
    """

    def __init__(self, run: OpenRun) -> None:
        self.run, self.missing = run, ""
        self.loader, self.plan = None, None
        self._examples: list[Any] = []
        try:
            source, _ = run.source()
        except (RunError, DataError) as error:
            self.missing = str(error).partition("\n")[0]
            return
        self.loader, self.plan = run.unaugmented(source)
        self._examples = examples(self.loader.samples, max(TIMED))

    def inputs(self, count: int) -> Inputs:
        """Inputs of the task's forward for `count` samples, on the CPU."""
        if self.loader is None or not self._examples:
            draw = torch.Generator().manual_seed(count)
            example = self.run.task.example_inputs(self.run.model)
            sizes = {name: (count, *value.shape[1:]) for name, value in example.items()}
            return {
                name: torch.randn(sizes[name], generator=draw) if value.is_floating_point() else value[:1].expand(sizes[name])
                for name, value in example.items()
            }
        chosen = list(itertools.islice(itertools.cycle(self._examples), count))
        return inputs_of(self.run, self.loader.samples.collate(chosen))

    def judge(self, model: nn.Module) -> float | None:
        """The run's best metric on its validation split, by the code that judged the run."""
        if self.loader is None or self.plan is None:
            return None
        task = self.run.task
        rows = evaluate(task, model, self.loader.evaluation(self.plan.evaluate_batch_size), self.run.device)
        return task.measured(rows)[self.metric.removeprefix("val/")]

    @property
    def metric(self) -> str:
        """The metric by which the run's best checkpoint was chosen, such as val/accuracy."""
        return self.best[0]

    @property
    def best(self) -> tuple[str, str]:
        """(metric, "max" or "min")."""
        spec = self.run.recipe.evaluate.best
        return (spec.metric, str(spec.mode)) if spec else self.run.task.best


def examples(samples: Any, count: int) -> list[Any]:
    """At most `count` readable samples, spread evenly over a split, without augmentation."""
    found = []
    for index in np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples)), dtype=np.int64)):
        try:
            found.append(samples.sample(int(index), None))
        except Unreadable:
            continue
    return found


def inputs_of(run: OpenRun, batch: dict[str, Any]) -> Inputs:
    """What of a batch the task's forward takes."""
    prepared = run.task.prepare(run.model, run.device.move(batch))
    return {name: prepared[name] for name in run.task.inputs}


def verify(run: OpenRun, session: nn.Module, data: Data, bound: float | None) -> float:
    """The largest difference of the outputs at batches of 1, 2 and 3.

    Args:
        bound: largest difference allowed, as a fraction of the largest output; None: the outputs need only be numbers.

    Raises:
        Unlike: it differs by more, or the runtime cannot compute such a batch.
    """
    largest = 0.0
    for count in VERIFIED:
        inputs = data.inputs(count)
        with torch.no_grad():
            try:
                made = run.task.forward(session, inputs)
            except Exception as error:  # the runtimes' own, of no common kind
                raise Unlike(f"it cannot compute a batch of {count}: {str(error).strip().partition(chr(10))[0]}") from error
            wanted = run.task.forward(run.model, inputs)
        for name, tensor in wanted.items():
            off = difference(tensor, made[name])
            if not (math.isfinite(off) if bound is None else agree(tensor, made[name], bound)):
                largest_own = float(tensor.abs().max())
                raise Unlike(f"at batch {count} {name} differs by {off:.3g} from the run's, whose largest is {largest_own:.3g}")
            largest = max(largest, off)
    return largest


class Beside(nn.Module):
    """A session that is compared, as it is judged, with the model it was made of.

    Attributes:
        largest: difference seen.
    """

    def __init__(self, session: Session, own: nn.Module) -> None:
        super().__init__()
        self.session, self.own, self.largest, self._seen = session, own, 0.0, 0

    def forward(self, *inputs: Tensor) -> Any:
        """What the session returns."""
        made = self.session(*inputs)
        if self._seen < _COMPARED:
            self._seen += len(inputs[0])
            pairs = zip(flat(self.own(*inputs))[2], flat(made)[2], strict=True)
            self.largest = max(self.largest, *(difference(wanted, found) for wanted, found in pairs))
        return made


def time_them(sides: Mapping[str, Callable[[Inputs], Any]], inputs: Callable[[int], Inputs]) -> dict[str, Speed]:
    """Median latencies; see `timed`."""
    latency = {
        name: {str(count): 1000 * statistics.median(seconds) for count, seconds in counts.items()}
        for name, counts in timed(sides, inputs).items()
    }
    return {name: Speed(ms, max(1000 * count / ms[str(count)] for count in TIMED)) for name, ms in latency.items()}


def timed(sides: Mapping[str, Callable[[Inputs], Any]], inputs: Callable[[int], Inputs]) -> dict[str, dict[int, list[float]]]:
    """{side: {samples at once: seconds of each call}}, measured in turns, so that what else the machine does weighs on none alone."""
    times: dict[str, dict[int, list[float]]] = {name: {count: [] for count in TIMED} for name in sides}
    for count in TIMED:
        given = inputs(count)
        for _ in range(_ROUNDS):
            for name, call in sides.items():
                call(given)  # the threads of the one before come to rest
                end = time.perf_counter() + _BLOCK
                for n in range(_CALLS):
                    started = time.perf_counter()
                    if started > end and n > 1:
                        break
                    call(given)
                    times[name][count].append(time.perf_counter() - started)
    return times
