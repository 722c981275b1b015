"""What a batch costs, how it is judged, how it is predicted: one file a task, and this table."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from liandan.tasks.task import Task, Turn, World

TASKS = {
    "image_classification": "liandan.tasks.image_classification:ImageClassification",
    "multi_label": "liandan.tasks.multi_label:MultiLabel",
    "multi_head": "liandan.tasks.multi_head:MultiHead",
    "language_model": "liandan.tasks.language_model:LanguageModel",
    "sft": "liandan.tasks.sft:SFT",
    "text_classification": "liandan.tasks.text_classification:TextClassification",
    "gan": "liandan.tasks.gan:Gan",
}


def resolve(name: str) -> type[Task]:
    """The class of a task.

    Raises:
        KeyError: `name` is not in the table.
    """
    module, _, attribute = TASKS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def recognize(path: Path, has_weights: Callable[[str], bool], model: str | None = None) -> dict[str, Any] | None:
    """The recipe for plain data: the first task of the table that knows what to do with `path`, or None.

    Args:
        has_weights: whether a model's pretrained weights are on this machine already.
        model: the name of the model that is asked for, if one is: what suits the data may depend on it.
    """
    for name in TASKS:
        values = resolve(name).recognize(path, has_weights, model)
        if values is not None:
            return {"version": 1, "task": name, **values}
    return None


__all__ = ["TASKS", "Task", "Turn", "World", "recognize", "resolve"]
