"""Two or more runs side by side: what was asked differently, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from liandan.runs import plots
from liandan.runs.layout import Layout, RunError
from liandan.runs.listing import best, environment, flatten, last_metrics, parameters, recipe_values, status
from liandan.runs.record import plain, read_metrics


@dataclass(frozen=True)
class Comparison:
    """Every list holds one value a run, in the order of `runs`; None where a run has none. All of it JSON-able.

    runs: names; recipe, environment: {dotted key: values} of the keys that differ; last: {metric: last values}; best: {metric: values at
    the step of the run's best evaluation}; best_of: {"metric", "value", "step"} a run; seconds: spent; parameters: of the models."""

    runs: list[str]
    paths: list[str]
    status: list[str]
    recipe: dict[str, list[Any]]
    best_of: list[dict[str, Any] | None]
    best: dict[str, list[Any]]
    last: dict[str, list[Any]]
    steps: list[int | None]
    seconds: list[float | None]
    parameters: list[int | None]
    environment: dict[str, list[Any]]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(layouts: Sequence[Layout]) -> Comparison:
    """Compare runs by their files alone. Raises RunError for fewer than two."""
    if len(layouts) < 2:
        raise RunError(f"a comparison needs two or more runs, received {len(layouts)}")
    rows = [read_metrics(layout) for layout in layouts]
    tops = [best(layout) for layout in layouts]
    at_best = [next((row for row in own if top and row["step"] == top["step"]), {}) for own, top in zip(rows, tops, strict=True)]
    return Comparison(
        runs=names(layouts),
        paths=[str(layout.root) for layout in layouts],
        status=[status(layout)[0] for layout in layouts],
        recipe=_differences([flatten(recipe_values(layout)) for layout in layouts]),
        best_of=tops,
        best=_side_by_side([last_metrics([row]) for row in at_best]),
        last=_side_by_side([last_metrics(own) for own in rows]),
        steps=[own[-1]["step"] if own else None for own in rows],
        seconds=[own[-1].get("seconds") if own else None for own in rows],
        parameters=[parameters(layout) for layout in layouts],
        environment=_differences([flatten(environment(layout)) for layout in layouts]),
    )


def overlay(layouts: Sequence[Layout], path: Path) -> Path:
    """Draw the curves of several runs over each other into a PNG. Raises ValueError when none has a row."""
    return plots.overlay(dict(zip(names(layouts), (read_metrics(layout) for layout in layouts), strict=True)), path)


def names(layouts: Sequence[Layout]) -> list[str]:
    """Short names that tell the runs apart: their name where that is enough, else name/stamp, else the path."""
    for candidates in (
        [layout.name for layout in layouts],
        [f"{layout.name}/{layout.root.name}" for layout in layouts],
        [str(layout.root) for layout in layouts],
    ):
        if len(set(candidates)) == len(candidates):
            return candidates
    return [f"{layout.root} ({number})" for number, layout in enumerate(layouts, 1)]


def _differences(documents: list[dict[str, Any]]) -> dict[str, list[Any]]:
    keys = dict.fromkeys(key for document in documents for key in document)
    missing = object()
    found = {}
    for key in keys:
        values = [document.get(key, missing) for document in documents]
        if any(repr(value) != repr(values[0]) for value in values):
            found[key] = [None if value is missing else value for value in values]
    return found


def _side_by_side(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: [plain(row.get(key)) for row in rows] for key in keys}
