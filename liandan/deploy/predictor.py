"""Predictions over files, folders and prompts; one bad file never stops the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from liandan.runtime.opened import OpenRun, Unreadable

_BATCH = 32


def predict(run: OpenRun, inputs: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One result an input, in order: the task's prediction with `input`, or `input` and `error` where it cannot be read."""
    items = run.expand(inputs)
    for at in range(0, len(items), _BATCH):
        chunk = items[at : at + _BATCH]
        try:
            results = run.predict(chunk)
        except Unreadable:
            results = [_alone(run, item) for item in chunk]
        yield from ({"input": item, **result} for item, result in zip(chunk, results, strict=True))


def _alone(run: OpenRun, item: str) -> dict[str, Any]:
    try:
        return run.predict([item])[0]
    except Unreadable as error:
        return {"error": str(error)}
