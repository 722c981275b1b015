"""Judging a whole split and writing down what came out: the end of training and `evaluate` are the same code."""

from __future__ import annotations

import csv
import io
import json
from typing import Any, Protocol

from torch import nn

from liandan.data.loader import Loader
from liandan.runs import plots, store
from liandan.runs.layout import Layout
from liandan.runs.record import plain
from liandan.runtime.device import Device
from liandan.tasks import Task
from liandan.tasks.evaluation import evaluate


class Judged(Protocol):
    """A model with its task on a device: a run's parts, or an opened run."""

    task: Task
    model: nn.Module
    device: Device


def evaluate_split(
    layout: Layout, judged: Judged, loader: Loader, split: str, batch_size: int, metrics: tuple[str, ...] | None
) -> dict[str, float]:
    """Judge every sample of a split; write evaluation/<split>/; return {"<split>/<metric>": value}. Collective."""
    rows = evaluate(judged.task, judged.model, loader.evaluation(batch_size), judged.device)
    found = {name: value for name, value in judged.task.summary(rows).items() if metrics is None or name in metrics}
    if judged.device.main:
        folder = layout.evaluation(split)
        shown = {name: plain(value) for name, value in found.items()}
        store.write_json_atomic(folder / "metrics.json", {**shown, "samples": len(rows), "unreadable": len(loader.unreadable)})
        store.write_text_atomic(folder / "predictions.csv", to_csv(rows, judged.task, loader))
        for stem, spec in judged.task.figures(rows).items():
            plots.figure(spec, folder / f"{stem}.png")
    return {f"{split}/{name}": value for name, value in found.items()}


def answer_split(layout: Layout, judged: Judged, pipeline: Any, samples: Any, split: str, limit: int) -> dict[str, float]:
    """Judge what a model writes for at most `limit` samples of a split; write answers.jsonl and answers.json into evaluation/<split>/, if
    its task is to write. metrics.json stays what training wrote. Not collective."""
    rows, found = judged.task.answers(judged.model, pipeline, samples, judged.device, limit)
    if rows:
        folder = layout.evaluation(split)
        store.write_text_atomic(folder / "answers.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        store.write_json_atomic(folder / "answers.json", {**found, "answers": len(rows), "samples": len(samples)})
    return {f"{split}/{name}": value for name, value in found.items()}


def to_csv(rows: list[dict[str, Any]], task: Task, loader: Loader) -> str:
    """One line a sample: its name, then the row's plain values; class indices as class names."""
    out = io.StringIO()
    plain = [key for key, value in rows[0].items() if not isinstance(value, list)] if rows else []
    writer = csv.writer(out)
    writer.writerow(["name", *plain])
    labels = task.labels
    for row in rows:
        values = [labels[row[k]] if labels is not None and k in ("label", "prediction") else row[k] for k in plain]
        writer.writerow([loader.samples.name(row["index"]), *values])
    return out.getvalue()
