"""Predictions over files, folders, videos and prompts, a batch at a time; one bad file never stops the rest."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from liandan.runtime.opened import Item, Predictor, Unreadable

_BATCH = 32


def predict(predictor: Predictor, inputs: Iterable[str], every: float = 0.0) -> Iterator[dict[str, Any]]:
    """One result an image, frame or prompt, in order: `input`, for a frame `seconds`, and the task's prediction, or `error`.

    Args:
        inputs: read as they are needed, so they may come from a pipe.
        every: seconds between two frames of a video; 0 takes all of them.
    """
    items = predictor.items(inputs, every)
    while chunk := list(itertools.islice(items, _BATCH)):
        good = [item for item in chunk if not isinstance(item.what, Unreadable)]
        try:
            found = predictor.predict([item.what for item in good]) if good else []
        except Unreadable:
            found = [_alone(predictor, item) for item in good]
        results = iter(found)
        for item in chunk:
            told = {"error": item.what.reason} if isinstance(item.what, Unreadable) else next(results)
            yield {"input": item.name, **({} if item.seconds is None else {"seconds": round(item.seconds, 3)}), **told}


def _alone(predictor: Predictor, item: Item) -> dict[str, Any]:
    try:
        return predictor.predict([item.what])[0]
    except Unreadable as error:
        return {"error": error.reason}


def write_jsonl(rows: Iterable[dict[str, Any]], file: IO[str]) -> Iterator[dict[str, Any]]:
    """Pass rows on, each written as a line of JSON first."""
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
        yield row


def write_csv(rows: Iterable[dict[str, Any]], file: IO[str]) -> Iterator[dict[str, Any]]:
    """Pass rows on, each written as a line of CSV first. The columns are the first prediction's; what failed before it waits for it."""
    writer: Any = None
    waiting: list[dict[str, Any]] = []
    for row in rows:
        line = flat(row)
        if writer is None and "error" not in line:
            columns = sorted([*line, "error"], key=lambda name: {"input": 0, "seconds": 1, "error": 3}.get(name, 2))
            writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(waiting)
        if writer is None:
            waiting.append(line)
        else:
            writer.writerow(line)
        yield row
    if writer is None and waiting:
        writer = csv.DictWriter(file, ["input", "error"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(waiting)


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """A nested row as one line: {"top": [{"label": "a"}]} is {"top1_label": "a"}."""
    if isinstance(value, dict):
        return {key: v for k, inner in value.items() for key, v in flat(inner, f"{name}_{k}" if name else k).items()}
    if isinstance(value, list | tuple):
        return {key: v for n, inner in enumerate(value, 1) for key, v in flat(inner, f"{name}{n}").items()}
    return {name: value}


WRITERS: dict[str, Callable[[Iterable[dict[str, Any]], IO[str]], Iterator[dict[str, Any]]]] = {".csv": write_csv, ".jsonl": write_jsonl}
