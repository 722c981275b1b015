"""A run directory -> a model ready to judge and to predict. Reads the directory alone; loads no code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from liandan import tasks
from liandan.data.errors import DataError, Unreadable
from liandan.data.files import walk
from liandan.data.image_files import usable
from liandan.data.pipelines import PIPELINES
from liandan.data.readers import read
from liandan.models.weights import Report, load_weights
from liandan.recipe import Recipe, load_recipe
from liandan.runs import store
from liandan.runs.layout import Layout, RunError
from liandan.runtime import assemble, weights
from liandan.runtime.device import Device
from liandan.runtime.judge import evaluate_split
from liandan.runtime.plan import make_plan
from liandan.tasks import Task


@dataclass
class OpenRun:
    """A run's model in evaluation mode, with its task and preprocessing."""

    layout: Layout
    recipe: Recipe
    task: Task
    model: nn.Module
    pipeline: Any
    device: Device
    checkpoint: Path

    def evaluate(self, path: str | None = None, split: str = "val", batch_size: int | None = None) -> dict[str, float]:
        """Judge a split of the recipe, or the data at `path`; writes evaluation/<split>/.

        Returns:
            {"<split>/<metric>": value}, for a split of the recipe the numbers training printed.

        Raises:
            RunError: the recipe has no such split. DataError: the data is missing or not what it was.
        """
        if path is not None:
            known: dict[str, Any] = {} if self.task.labels is None else {"labels": self.task.labels}
            source = read(Path(path), **known)
            split = Path(path).name if split == "val" else split
        else:
            splits = assemble.read_splits(self.recipe)
            changes = assemble.data_differences(store.read_json(self.layout.data), splits.facts)
            if changes:
                listed = "\n  ".join(changes)
                hint = "bring it back, or judge what is there now with --data PATH"
                raise DataError(f"the data is not what the run was trained and judged on:\n  {listed}\n{hint}")
            source = {"train": splits.train, "val": splits.val, "test": splits.test}.get(split)
            if source is None:
                there = ", ".join(name for name in ("train", "val", "test") if getattr(splits, name) is not None)
                raise RunError(f'this run has no split "{split}"; give data by a path, or one of: {there}')
        samples = self.pipeline.samples(source, training=False)
        loader = assemble.make_loader(self.recipe, samples, self.device)
        plan = make_plan(self.recipe, self.task, len(samples))
        return evaluate_split(self.layout, self, loader, split, batch_size or plan.evaluate_batch_size, plan.metrics)

    def expand(self, inputs: Sequence[str]) -> list[str]:
        """Inputs with each folder replaced by the images in it, for tasks that look at images; anything else as it is."""
        out: list[str] = []
        for item in inputs:
            folder = Path(item)
            if "image" in self.task.inputs and folder.is_dir():
                out += [str(folder / found.relative) for found in walk(folder) if usable(found)]
            else:
                out.append(item)
        return out

    def predict(self, inputs: list[str]) -> list[dict[str, Any]]:
        """Predictions for files or prompts, in order; see the task's `decode`."""
        return self.task.predict(self.model, self.pipeline, inputs, self.device)


def open_run(layout: Layout, checkpoint: str = "best", warn: Callable[[str], None] = lambda text: None) -> OpenRun:
    """Open a run for judging and predicting.

    Args:
        checkpoint: "best" (the newest one where nothing was evaluated) or "last".

    Raises:
        RunError: there is no run, or no valid checkpoint in it.
    """
    if not layout.resolved.exists():
        raise RunError(f"{layout.root} is not a run that can be opened: it has no resolved.yaml")
    recipe = weights.at_home(load_recipe(layout.resolved), layout)
    device = assemble.find_device(recipe if recipe.device == "cpu" or torch.cuda.is_available() else recipe.with_values({"device": "auto"}))
    device.precision = str(recipe.train.precision)
    torch.set_num_threads(int(recipe.train.threads))
    task_type = tasks.resolve(recipe.task)
    pipeline = PIPELINES[task_type.kind].from_json(store.read_json(layout.preprocessing))
    loss = {"name": recipe.loss.name, **recipe.loss.arguments} if recipe.loss else None
    task = task_type(loss, store.read_json(layout.labels), pipeline.describe())
    model = assemble.build_model(recipe, task)
    if recipe.model.adapter is not None:
        initial = weights.find(recipe)
        report = load_weights(model, initial) if initial is not None else Report()
        model = assemble.adapted(recipe, model, report)
    pointer = store.read_pointer(layout.best) if checkpoint == "best" else None
    folder = layout.checkpoints / pointer["checkpoint"] if pointer else None
    if folder is None or store.verify(folder) is not None:
        folder = store.newest_valid(layout, warn)
    if folder is None:
        raise RunError(f"{layout.root} has no valid checkpoint; `liandan train ... --resume` makes one")
    tensors, _ = store.read_checkpoint(folder, verify=False)
    model.load_state_dict(tensors["model.safetensors"])
    model = device.place(model).eval()
    return OpenRun(layout, recipe, task, model, pipeline, device, folder)


__all__ = ["OpenRun", "Unreadable", "open_run"]
