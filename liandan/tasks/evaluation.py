"""The evaluation loop: in training, in `evaluate` and for artefacts alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import nn

from liandan.tasks.task import Batch, Row, Task, World


class Interrupted(Exception):
    """An evaluation was left in the middle; nothing of it is kept."""


@torch.no_grad()
def evaluate(
    task: Task,
    model: nn.Module,
    batches: Iterable[Batch],
    world: World,
    stopped: Callable[[], bool] = lambda: False,
    watch: Callable[[int], None] = lambda done: None,
) -> list[Row]:
    """Rows of a whole split, in the order of the samples, on every process; the last partial batch counts.

    Args:
        batches: this process's batches of the split, without augmentation.
        stopped: asked before each batch; true on any process makes all of them leave.
        watch: told the number of samples judged so far.

    Raises:
        Interrupted: `stopped` said so.
    """
    was_training = model.training
    model.eval()
    rows: list[Row] = []
    try:
        for batch in together(batches, world, stopped):
            batch = world.move(batch)
            with world.autocast():
                batch = task.prepare(model, batch)
                outputs = task.answer(model, batch)
            rows += task.judge(outputs, batch)
            watch(len(rows))
    finally:
        model.train(was_training)
    return sorted((row for part in world.gather(rows) for row in part), key=lambda row: row["index"])


def together(batches: Iterable[Batch], world: World, stopped: Callable[[], bool]) -> Iterator[Batch]:
    """This process's batches. All processes ask one another once a round, those without a batch left too, so that they leave together."""
    mine = iter(batches)
    while True:
        batch = next(mine, None)
        leaving, busy = world.sum([stopped(), batch is not None])
        if leaving:
            raise Interrupted
        if not busy:
            return
        if batch is not None:
            yield batch
