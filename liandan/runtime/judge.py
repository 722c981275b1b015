"""Judging a whole split and writing down what came out: the end of training and `evaluate` are the same code."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any, Protocol

from torch import nn

from liandan.data.choices import ChoiceSource, Shots
from liandan.data.errors import Unreadable
from liandan.data.loader import Loader
from liandan.runs import plots, report, store
from liandan.runs.layout import Layout, RunError
from liandan.runs.record import plain
from liandan.runtime.device import Device
from liandan.tasks import Task, choices
from liandan.tasks.evaluation import evaluate

_SHOWN = 24  # mistakes shown as pictures
_SIDE = 160  # pixels of the longer side of one


class Judged(Protocol):
    """A model with its task on a device: a run's parts, or an opened run."""

    task: Task
    model: nn.Module
    device: Device


def evaluate_split(layout: Layout, judged: Judged, loader: Loader, split: str, batch_size: int) -> dict[str, float]:
    """Judge every sample of a split; write evaluation/<split>/; return {"<split>/<metric>": value}. Collective."""
    task = judged.task
    rows = evaluate(task, judged.model, loader.evaluation(batch_size), judged.device)
    found = task.measured(rows)
    if judged.device.main:
        folder = layout.evaluation(split)
        shows = task.findings(rows)
        shown = {name: plain(value) for name, value in found.items()}
        facts = {"samples": len(rows), "unreadable": len(loader.unreadable)}
        store.write_json_atomic(folder / "metrics.json", {**shown, **facts})
        store.write_text_atomic(folder / "predictions.csv", to_csv(predictions(rows, task, loader)))
        for stem, lines in shows.tables.items():
            store.write_text_atomic(folder / f"{stem}.csv", to_csv(lines))
        for stem, spec in shows.figures.items():
            plots.figure(spec, folder / f"{stem}.png")
        report.write(
            layout, split, {**found, **facts}, notes=task.notices(), figures=list(shows.figures), tables=shows.tables,
            mistakes=pictured(shows.mistakes, loader),
        )  # fmt: skip
    return {f"{split}/{name}": value for name, value in found.items()}


def answer_split(
    layout: Layout, judged: Judged, pipeline: Any, samples: Any, split: str, limit: int, shots: Shots = ()
) -> dict[str, float]:
    """Judge what a model writes for at most `limit` samples of a split; write answers.jsonl and answers.json into evaluation/<split>/, if
    its task is to write. metrics.json stays what training wrote. Not collective."""
    rows, found = judged.task.answers(judged.model, pipeline, samples, judged.device, limit, shots)
    if rows:
        folder = layout.evaluation(split)
        store.write_text_atomic(folder / "answers.jsonl", to_jsonl(rows))
        store.write_json_atomic(folder / "answers.json", {**found, "answers": len(rows), "shots": len(shots), "samples": len(samples)})
    return {f"{split}/{name}": value for name, value in found.items()}


def choice_split(layout: Layout, judged: Judged, pipeline: Any, source: ChoiceSource, split: str, shots: Shots = ()) -> dict[str, float]:
    """Judge which answers a language model finds likeliest; write choices.jsonl and choices.json into evaluation/<split>/. Not collective.

    Raises:
        RunError: the model is none of language.
    """
    if not hasattr(pipeline, "request"):
        raise RunError(f"{layout.root} is of no language model, which alone can be asked to choose among texts")
    rows, found = choices.judge(judged.model, pipeline, source, judged.device, shots)
    folder = layout.evaluation(split)
    store.write_text_atomic(folder / "choices.jsonl", to_jsonl(rows))
    shown = {name: plain(value) for name, value in found.items()}
    store.write_json_atomic(folder / "choices.json", {**shown, "shots": len(shots), "samples": len(rows)})
    return {f"{split}/{name}": value for name, value in found.items()}


def predictions(rows: list[dict[str, Any]], task: Task, loader: Loader) -> list[dict[str, Any]]:
    """A line a sample: its name, then the row's values; class indices as class names, probabilities a column a class."""
    labels, lines = task.labels or [], []
    for row in rows:
        line: dict[str, Any] = {"name": loader.samples.name(row["index"])}
        for key, value in row.items():
            if key in ("label", "prediction") and labels:
                line[key] = labels[value]
            elif key == "probabilities":
                line |= {f"p:{label}": f"{p:.6g}" for label, p in zip(labels, value, strict=True)}
            elif not isinstance(value, list):
                line[key] = value
        lines.append(line)
    return lines


def pictured(mistakes: list[dict[str, Any]], loader: Loader) -> list[dict[str, Any]]:
    """The worst mistakes, each with its `name` and, where its kind of data has one, its `picture` as PNG bytes."""
    picture = getattr(loader.samples, "picture", None)
    shown: list[dict[str, Any]] = []
    for mistake in mistakes[:_SHOWN]:
        index = mistake["index"]
        told = {key: value for key, value in mistake.items() if key != "index"}
        seen: dict[str, Any] = {"name": loader.samples.name(index), **told}
        if picture is not None:
            try:
                seen["picture"] = picture(index, _SIDE)
            except Unreadable:  # it could be read a moment ago
                continue
        shown.append(seen)
    return shown


def to_jsonl(rows: Iterable[dict[str, Any]]) -> str:
    """A line of JSON a row."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def to_csv(lines: Iterable[dict[str, Any]]) -> str:
    """Lines as CSV text, columns as in the first line, after a byte order mark: without one, Excel takes UTF-8 for a local code page."""
    out = io.StringIO()
    writer: Any = None
    for line in lines:
        if writer is None:
            writer = csv.DictWriter(out, list(line))
            writer.writeheader()
        writer.writerow({key: plain(value) for key, value in line.items()})
    return "\N{BYTE ORDER MARK}" + out.getvalue()
