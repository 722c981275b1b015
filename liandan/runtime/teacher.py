"""Trained models that a task asks while another model learns: opened from their runs, never changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from liandan import tasks
from liandan.data.pipelines import PIPELINES
from liandan.recipe import Fault, Recipe, RecipeError, load_recipe
from liandan.runs import layout as layouts
from liandan.runs import store
from liandan.runtime import weights
from liandan.runtime.device import Device
from liandan.tasks import Task

Build = Callable[[Recipe, Task, Mapping[str, Tensor]], nn.Module]


def open_teacher(
    recipe: Recipe, key: str, named: str, task: Task, pipeline: Any, build: Build, device: Device
) -> tuple[nn.Module, dict[str, str]]:
    """The best model of a run, frozen and in evaluation mode on `device`, and which it is: {"run", "checkpoint", "sha256"}.

    It is given the student's inputs, so both must see samples alike.

    Args:
        key: of the recipe, for faults; `named`: what it says, `run:<run>`.
        task, pipeline: of the model that learns.
        build: a model from its recipe, its task and the tensors of its checkpoint.

    Raises:
        RecipeError: no such run, no checkpoint in it, other classes, or other inputs than the student's.
        RunError: the run cannot be found.
    """

    def fault(expected: str, received: str, hint: str = "") -> RecipeError:
        return RecipeError([Fault(key, recipe.document.where(key), expected, received, hint)])

    layout = layouts.find(named.removeprefix("run:"))
    pointer = store.read_pointer(layout.best) or store.read_pointer(layout.last)
    if pointer is None:
        raise fault("a run with a checkpoint", f"{layout.root} has none")
    labels = store.read_json(layout.labels)
    if labels != task.labels:
        raise fault(f"a teacher of the classes {task.labels}", f"{layout.root} knows {labels}", "train the teacher on the same classes")
    theirs = weights.at_home(load_recipe(layout.resolved), layout)
    kind = tasks.resolve(theirs.task)
    seen: Any = PIPELINES[kind.kind].from_json(store.read_json(layout.preprocessing))
    if seen.kind != pipeline.kind:
        raise fault(f"a teacher of {pipeline.kind}", f"{layout.root} learned from {seen.kind}")
    if seen.describe() != pipeline.describe() or seen.scale() != pipeline.scale():
        expected = f"a teacher that sees {pipeline.describe()} scaled by {pipeline.scale()}"
        raise fault(expected, f"{seen.describe()} scaled by {seen.scale()}", "give both recipes the same data.transforms.eval")
    folder = layout.checkpoints / pointer["checkpoint"]
    tensors, _ = store.read_checkpoint(folder)
    model = build(theirs, kind(None, labels, seen.describe()), tensors["model.safetensors"])
    which = {"run": named, "checkpoint": folder.name, "sha256": store.read_json(folder / store.MANIFEST)["sha256"]}
    return device.place(model).eval().requires_grad_(False), which
