"""What the model of a recipe will be shown, before it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from liandan import tasks
from liandan.data.errors import DataError
from liandan.recipe import Recipe
from liandan.runtime.assemble import fit_pipeline, make_loader, make_sampling, read_splits
from liandan.runtime.device import Device


def first_samples(recipe: Recipe, count: int) -> tuple[np.ndarray, list[str]]:
    """The first training samples of a run, in the order and with the noise it will have, normalization undone.

    Args:
        count: at most so many; a run's first epoch may hold fewer.

    Returns:
        uint8 (count, height, width, 1 or 3), and the classes of each (its name where it has none).

    Raises:
        DataError: the data is missing, or is no images.
    """
    task = tasks.resolve(recipe.task)
    if task.kind != "images":
        raise DataError(f"expected a task of images, got {recipe.task}: {task.kind} has no pictures to show")
    train = read_splits(recipe).train
    pipeline = fit_pipeline(recipe, task, train)
    here = recipe.with_values({"data.workers": 0})
    loader = make_loader(here, pipeline.samples(train, training=True), Device("cpu"), make_sampling(recipe, train))
    size = int(recipe.train.batch_size)
    images: list[torch.Tensor] = []
    indices: list[int] = []
    steps = -(-min(count, len(train)) // size)
    for micro_batches in loader.training(size, size, 0, steps):
        for batch in micro_batches:
            images.append(batch["image"])
            indices += batch["index"].tolist()
    shown = _undone(torch.cat(images)[:count], pipeline.train)
    return shown.permute(0, 2, 3, 1).numpy(), [caption(train, i) for i in indices[:count]]


def _undone(images: torch.Tensor, steps: list[dict[str, Any]]) -> torch.Tensor:
    """float32 (N, C, H, W) as a model takes it -> uint8, by the last `normalize` of the steps."""
    normalize = next((step for step in reversed(steps) if step["name"] == "normalize"), {"mean": [0.0], "std": [1.0]})
    mean, std = (torch.tensor(normalize[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)


def caption(source: Any, index: int) -> str:
    """The classes of a sample in words; its name where it has none."""
    target = source.target(index)
    if target is None:
        return source.name(index)
    if isinstance(target, dict):
        return ", ".join(source.labels[head][k] for head, k in target.items())
    return ", ".join(source.labels[k] for k in target) if isinstance(target, list) else source.labels[target]
