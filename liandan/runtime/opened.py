"""A run directory -> a model ready to judge and to predict. Reads the directory alone; loads no code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from liandan.data.images import probe
from liandan.data.loader import Loader
from liandan.data.pipelines import PIPELINES
from liandan.data.video import frames, is_video
from liandan.models import adapter, huggingface, quantize
from liandan.recipe import Recipe, load_recipe
from liandan.runs import store
from liandan.runs.layout import Layout, RunError
from liandan.runtime import assemble, base
from liandan.runtime import model as made
from liandan.runtime.device import Device
from liandan.runtime.judge import answer_split, choice_split, evaluate_split
from liandan.runtime.plan import Plan, make_plan
from liandan.tasks import Task
from liandan.tasks.writing import writer

_SPLITS = ("train", "val", "test")  # of a recipe


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
class Predictor:
    """A model in evaluation mode, with its task and preprocessing: what a run and an artefact made of it have in common."""

    task: Task
    model: nn.Module
    pipeline: Any
    device: Device

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


@dataclass
class OpenRun(Predictor):
    """A run's model, and the run it is of."""

    layout: Layout
    recipe: Recipe
    checkpoint: Path

    def evaluate(
        self,
        data: str | Mapping[str, Any] | None = None,
        split: str | None = None,
        batch_size: int | None = None,
        tta: Sequence[str] = (),
        *,
        answers: int = 0,
        few_shot: str | None = None,
    ) -> dict[str, float]:
        """Judge a split of the recipe, or other data; writes evaluation/<split>/.

        A language model is judged on questions with choices, too, see tasks.choices.

        Args:
            data: what a recipe's data.test may be: a path, or {path, format, ...}; relative to where one stands.
            split: val, test or train of the recipe, val if not given; what other data is called, by default as its file or folder.
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
        if few_shot is not None and not hasattr(self.pipeline, "request"):
            raise RunError(f"a run of {self.recipe.task} takes no examples; those of language models do")
        shots = read_shots(few_shot) if few_shot is not None else []
        source, split = self.source(data, split)
        if isinstance(source, ChoiceSource):
            return choice_split(self.layout, self, self.pipeline, source, split, shots)
        loader, plan = self.unaugmented(source)
        if not tta:
            found = evaluate_split(self.layout, self, loader, split, batch_size or plan.evaluate_batch_size)
            return {**found, **answer_split(self.layout, self, self.pipeline, loader.samples, split, answers, shots)}
        own, self.task.tta = self.task.tta, tuple(tta)
        try:
            return evaluate_split(self.layout, self, loader, f"{split}-tta", batch_size or plan.evaluate_batch_size)
        finally:
            self.task.tta = own

    def source(self, data: str | Mapping[str, Any] | None = None, split: str | None = None) -> tuple[Any, str]:
        """What is judged, before the pipeline, and what its evaluation is called; arguments as of `evaluate`.

        Raises:
            RunError: the recipe has no such split. DataError: the data is missing, or the recipe's is not what it was.
        """
        return self._given(data, split) if data is not None else self._own(split or "val")

    def _given(self, data: str | Mapping[str, Any], name: str | None) -> tuple[Any, str]:
        """The source of other data than the recipe's, and what its evaluation is called."""
        spec = self.recipe.with_values({"data.test": None}).with_values({"data.test": data}, "the data given").data.test
        assert spec is not None
        path = Path(spec.path).resolve()
        name = name or (path.name if path.is_dir() else path.stem)
        if name in _SPLITS:
            name += "-given"  # the recipe's own evaluations stay what training wrote
        return assemble.read_source(spec, self.task.labels), name

    def _own(self, split: str) -> tuple[Any, str]:
        """The source of a split of the recipe, which must be what it was."""
        splits = assemble.read_splits(self.recipe)
        changes = assemble.data_differences(store.read_json(self.layout.data), splits.facts)
        if changes:
            listed = "\n  ".join(changes)
            hint = "bring it back, or judge what is there now with --data PATH"
            raise DataError(f"the data is not what the run was trained and judged on:\n  {listed}\n{hint}")
        there = {name: source for name in _SPLITS if (source := getattr(splits, name)) is not None}
        if split not in there:
            raise RunError(f'this run has no split "{split}"; give data by a path, or one of: {", ".join(there)}')
        return there[split], split

    def unaugmented(self, source: Any) -> tuple[Loader, Plan]:
        """The samples of a source as they are judged, and the numbers of the run, as far as they depend on how many there are."""
        samples = self.pipeline.samples(source, training=False)
        return assemble.make_loader(self.recipe, samples, self.device), make_plan(self.recipe, self.task, len(samples))

    def writer(self, int8: bool = False) -> Any:
        """The model made to write with, for the task's `write`; made anew by each call. The run's adapter, if it has one, becomes part of
        the model's weights, which changes rounding.

        Args:
            int8: of weights rounded to 8 bits, which a CPU reads faster.

        Raises:
            ModelError: the model or the device has no int8.
        """
        self.merge_adapter()
        return writer(self.model, self.device, int8)

    def compute_in_float32(self) -> None:
        """Without autocast a model computes in float32, but for layers held in 4 bits, made for the run's precision: now they do too."""
        quantize.compute_in(self.model, torch.float32)

    def merge_adapter(self) -> None:
        """Make the run's adapter, if it has one, part of the model's weights."""
        adapter.merge(self.model)

    def to_transformers(self) -> Any:
        """The model, merged, as transformers' own module; raises ModelError if it has none such."""
        return huggingface.to_transformers(self.model)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """float (batch, classes) of what the pipeline's `collate` made, with a gradient where one is asked for."""
        return self.task.forward(self.model, {"image": images})["logits"]


def best_checkpoint(layout: Layout, checkpoint: str = "best", warn: Callable[[str], None] = lambda text: None) -> Path:
    """The folder of the checkpoint that is opened: "best" (the newest one where nothing was evaluated) or "last".

    Raises:
        RunError: there is no valid one.
    """
    pointer = store.read_pointer(layout.best) if checkpoint == "best" else None
    folder = layout.checkpoints / pointer["checkpoint"] if pointer else None
    if folder is None or store.verify(folder) is not None:
        folder = store.newest_valid(layout, warn)
    if folder is None:
        raise RunError(f"{layout.root} has no valid checkpoint; `liandan train ... --resume` makes one")
    return folder


def described(name: str, loss: dict[str, Any] | None, labels: Any, preprocessing: dict[str, Any]) -> tuple[Task, Any]:
    """A task and its pipeline, as a run directory or an artefact tells of them.

    Raises:
        KeyError: no task is called so.
    """
    task_type = tasks.resolve(name)
    pipeline = PIPELINES[task_type.kind].from_json(preprocessing)
    return task_type(loss, labels, pipeline.describe()), pipeline


def open_run(layout: Layout, checkpoint: str = "best", warn: Callable[[str], None] = lambda text: None) -> OpenRun:
    """Open a run for judging and predicting.

    Args:
        checkpoint: "best" (the newest one where nothing was evaluated) or "last".

    Raises:
        RunError: there is no run, or no valid checkpoint in it.
    """
    if not layout.resolved.exists():
        raise RunError(f"{layout.root} is not a run that can be opened: it has no resolved.yaml")
    recipe = base.at_home(load_recipe(layout.resolved), layout)
    device = assemble.find_device(recipe if recipe.device == "cpu" or torch.cuda.is_available() else recipe.with_values({"device": "auto"}))
    device.precision = str(recipe.train.precision)
    torch.set_num_threads(int(recipe.train.threads))
    loss = {"name": recipe.loss.name, **recipe.loss.arguments} if recipe.loss else None
    task, pipeline = described(recipe.task, loss, store.read_json(layout.labels), store.read_json(layout.preprocessing))
    assemble.ask(recipe, task)
    folder = best_checkpoint(layout, checkpoint, warn)
    tensors, _ = store.read_checkpoint(folder, verify=False)
    model = device.place(made.trained(recipe, task, tensors["model.safetensors"])).eval()
    return OpenRun(task, model, pipeline, device, layout, recipe, folder)


def pixels(content: bytes) -> int:
    """Pixels of an image by its header; nothing is decoded for it. Raises Unreadable."""
    height, width = probe(content).size
    return height * width


__all__ = ["DataError", "Item", "OpenRun", "Predictor", "Unreadable", "best_checkpoint", "described", "open_run", "pixels"]
