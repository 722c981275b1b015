"""What the model of a recipe will be shown, before it is."""

from __future__ import annotations

import html
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch

from liandan import tasks
from liandan.data.errors import DataError
from liandan.data.order import Order
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


@dataclass(frozen=True)
class Shown:
    """A sample of text, read back from its tokens.

    Attributes:
        title: its name, and its class where it has one.
        pieces: (text, weight in the loss) of runs of tokens of one weight; 0: given, not learned.
        tokens, learned: how many of each.
    """

    title: str
    pieces: list[tuple[str, float]]
    tokens: int
    learned: int

    def to_json(self) -> dict[str, Any]:
        pieces = [{"text": text, "weight": weight} for text, weight in self.pieces]
        return {"title": self.title, "tokens": self.tokens, "learned": self.learned, "pieces": pieces}


def first_texts(recipe: Recipe, count: int) -> list[Shown]:
    """The first training samples of a run of text, in the order it will have.

    Raises:
        DataError: the data is missing or no text, or came as tokens that nobody can read back.
    """
    train = read_splits(recipe).train
    pipeline = fit_pipeline(recipe, tasks.resolve(recipe.task), train)
    if pipeline.tokenizer is None:
        raise DataError(f"{train.path}: these tokens came without a tokenizer: there is no text to show")
    samples = pipeline.samples(train, training=True)
    size = int(recipe.train.batch_size)
    order = Order(len(samples), size, recipe.seed, make_sampling(recipe, train))
    first = [int(i) for indices, _ in order.steps(0, -(-min(count, len(samples)) // size)) for i in indices][:count]
    return [_shown(samples.name(i), samples.sample(i), pipeline.tokenizer, getattr(train, "labels", None)) for i in first]


def _shown(name: str, sample: dict[str, Any], tokenizer: Any, labels: list[str] | None) -> Shown:
    ids = sample["ids"].tolist()
    title, weights = name, [1.0] * len(ids)  # of a text to be written on, everything is learned
    if "weights" in sample:
        weights = sample["weights"].tolist()
    elif "label" in sample:
        title, weights = f"{name} ({labels[sample['label']] if labels else sample['label']})", [0.0] * len(ids)
    runs = [(weight, [i for i, _ in run]) for weight, run in groupby(zip(ids, weights, strict=True), key=lambda pair: pair[1])]
    return Shown(title, [(tokenizer.decode(run), weight) for weight, run in runs], len(ids), sum(weight > 0 for weight in weights))


def page(shown: list[Shown]) -> str:
    """Samples as a page: what is learned is marked, and says what it weighs."""
    said = [
        f"<h2>{html.escape(one.title)}</h2><p>{one.tokens} tokens, {one.learned} of them learned</p><pre>"
        + "".join(
            f'<mark title="{weight:g}">{html.escape(text)}</mark>' if weight else html.escape(text) for text, weight in one.pieces
        )
        + "</pre>"
        for one in shown
    ]
    style = "body{font-family:sans-serif;max-width:60em;margin:2em auto}pre{white-space:pre-wrap}mark{background:#b7e4c7}"
    return f'<!doctype html><meta charset="utf-8"><title>samples</title><style>{style}</style>\n' + "\n".join(said) + "\n"


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
