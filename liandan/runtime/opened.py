"""A run directory -> a model ready to judge and to predict. Reads the directory alone; loads no code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from liandan import tasks
from liandan.data.choices import ChoiceSource
from liandan.data.errors import DataError, Unreadable
from liandan.data.few_shot import read_shots
from liandan.data.files import walk
from liandan.data.image_files import usable
from liandan.data.pipelines import PIPELINES
from liandan.data.readers import read
from liandan.data.video import frames, is_video
from liandan.models import adapter, huggingface
from liandan.models.weights import Report, load_weights
from liandan.recipe import Recipe, load_recipe
from liandan.runs import store
from liandan.runs.layout import Layout, RunError
from liandan.runtime import assemble, weights
from liandan.runtime.device import Device
from liandan.runtime.judge import answer_split, choice_split, evaluate_split
from liandan.runtime.plan import make_plan
from liandan.tasks import Task


@dataclass(frozen=True)
class Item:
    """One thing to predict on.

    Attributes:
        name: as the user named it, or found in the folder that was named.
        what: a path or a prompt, the pipeline's `example` of a frame, or the error that says why there is nothing to predict on.
        seconds: of a video's frame, since the start.
    """

    name: str
    what: Any
    seconds: float | None = None


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

    def evaluate(
        self, path: str | None = None, split: str = "val", batch_size: int | None = None, tta: Sequence[str] = (), *, answers: int = 0,
        few_shot: str | None = None,
    ) -> dict[str, float]:  # fmt: skip
        """Judge a split of the recipe, or the data at `path`; writes evaluation/<split>/.

        A language model is judged on questions with choices, too, see tasks.choices.

        Args:
            tta: views to average over instead of the recipe's; <split> is then <split>-tta, for these are not the numbers training printed.
            answers: of at most so many samples, what the model writes is judged as well, if its task is to write.
            few_shot: a file of examples, shown before each question of a language model.

        Returns:
            {"<split>/<metric>": value}, for a split of the recipe the numbers training printed, and those of the answers.

        Raises:
            RunError: the recipe has no such split, or its task no such view. DataError: the data is missing or not what it was.
        """
        if any(view not in self.task.views for view in tta):
            raise RunError(f"no view {' or '.join(tta)} of {self.recipe.task}; there are: {', '.join(self.task.views) or 'none'}")
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
        if few_shot is not None and not hasattr(self.pipeline, "request"):
            raise RunError(f"a run of {self.recipe.task} takes no examples; those of language models do")
        shots = read_shots(few_shot) if few_shot is not None else []
        if isinstance(source, ChoiceSource):
            return choice_split(self.layout, self, self.pipeline, source, split, shots)
        samples = self.pipeline.samples(source, training=False)
        loader = assemble.make_loader(self.recipe, samples, self.device)
        plan = make_plan(self.recipe, self.task, len(samples))
        if not tta:
            found = evaluate_split(self.layout, self, loader, split, batch_size or plan.evaluate_batch_size)
            return {**found, **answer_split(self.layout, self, self.pipeline, samples, split, answers, shots)}
        own, self.task.tta = self.task.tta, tuple(tta)
        try:
            return evaluate_split(self.layout, self, loader, f"{split}-tta", batch_size or plan.evaluate_batch_size)
        finally:
            self.task.tta = own

    def merge_adapter(self) -> None:
        """Make the run's adapter, if it has one, part of the model's weights."""
        adapter.merge(self.model)

    def to_transformers(self) -> Any:
        """The model, merged, as transformers' own module; raises ModelError if it has none such."""
        return huggingface.to_transformers(self.model)

    @property
    def sees(self) -> bool:
        """Whether what it predicts on are images."""
        return "image" in self.task.inputs

    def items(self, inputs: Iterable[str], every: float = 0.0) -> Iterator[Item]:
        """What to predict on, one at a time: each folder replaced by the images and videos in it, sorted, and each video by its frames,
        for tasks that look at images; anything else as it is.

        Args:
            every: seconds between two frames of a video; 0 takes all of them.
        """
        for given in inputs:
            if not self.sees:
                yield Item(given, given)
            elif not Path(given).is_dir():
                yield from self._file(given, every)
            else:
                inside = sorted(found.relative for found in walk(Path(given)) if usable(found) or is_video(found.relative))
                if not inside:
                    yield Item(given, Unreadable(given, "no image and no video is in this folder"))
                for relative in inside:
                    yield from self._file(str(Path(given) / relative), every)

    def _file(self, name: str, every: float) -> Iterator[Item]:
        if not is_video(name):
            yield Item(name, name)
            return
        try:
            for seconds, image in frames(Path(name), every, self.pipeline.channels):
                yield Item(name, self.pipeline.example(image), seconds)  # already small: a batch of whole frames would fill the memory
        except Unreadable as error:
            yield Item(name, error)

    def predict(self, inputs: Sequence[Any]) -> list[dict[str, Any]]:
        """Predictions for files, prompts or frames, in order; see the task's `decode`."""
        return self.task.predict(self.model, self.pipeline, inputs, self.device)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """float (batch, classes) of what the pipeline's `collate` made, with a gradient where one is asked for."""
        return self.task.forward(self.model, {"image": images})["logits"]


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
    assemble.ask(recipe, task)
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


__all__ = ["Item", "OpenRun", "Unreadable", "open_run"]
