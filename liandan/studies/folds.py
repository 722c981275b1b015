"""Cross-validation: one run a fold, each judged on the part of the data it has not seen; mean and spread at the end."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from liandan.engine import session
from liandan.recipe import HoldOut, Recipe, diff, load_recipe, to_yaml
from liandan.runs import layout as layouts
from liandan.runs import report, store
from liandan.runs.layout import Layout, RunError
from liandan.runs.record import plain, to_csv

Watch = Callable[[dict[str, Any]], None]
_THEIR_OWN = ("run.dir", "name", "base")  # keys in which a fold's recipe may differ from the study's
_COUNTS = ("samples", "unreadable")


@dataclass
class Folds:
    """What came of a cross-validation.

    Attributes:
        root: its directory, with fold-1 to fold-k in it.
        exit_code: 0, or 130 / 143 when a signal ended it.
        rows: {"fold", "run", "samples", metric: value} of each finished fold.
        table: {"metric", "mean", "std"} over the folds; std is the sample's (divided by k - 1). Empty while folds are missing.
    """

    root: Path
    exit_code: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    table: list[dict[str, Any]] = field(default_factory=list)


def start(
    recipe: Recipe, folds: int, *, resume: bool = False, allow_data_change: bool = False, watch: Watch = lambda event: None
) -> Folds:
    """Train and judge each fold, one after another, in a new directory or, with `resume`, where it was left.

    Every fold is a run of its own in fold-<i>/, with the names of its samples in its data.json; a finished one is not made again.

    Raises:
        Refused: the recipe or the number of folds is not that of the folds that are there. Otherwise as engine.session.start.
    """
    session.check(recipe)
    found = Folds(_find_or_make(recipe, resume))
    _keep(found.root, recipe, folds)
    stratify = recipe.data.val.stratify if isinstance(recipe.data.val, HoldOut) else True
    for number in range(1, folds + 1):
        layout = Layout(found.root / f"fold-{number}")
        if not _finished(layout):
            watch({"note": f"fold {number} of {folds}"})
            own = {"data.val": {"fold": [number, folds], "stratify": stratify}, "run.dir": str(layout.root)}
            outcome = session.start(recipe.with_values(own), resume=True, allow_data_change=allow_data_change, watch=watch)
            if outcome.exit_code:
                found.exit_code = outcome.exit_code
                return found
        found.rows.append({"fold": number, "run": str(layout.root), **_measured(layout)})
    found.table = summarize(found.rows)
    _write(found, recipe, folds)
    return found


def summarize(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and sample standard deviation of every metric over the folds; NaN where a fold has none."""
    table = []
    for metric in (key for key in rows[0] if key not in ("fold", "run", *_COUNTS)):
        values = [float(row[metric]) for row in rows]
        table.append({"metric": metric, "mean": statistics.fmean(values), "std": statistics.stdev(values)})
    return table


def _find_or_make(recipe: Recipe, resume: bool) -> Path:
    name = session.name_of(recipe)
    if recipe.run.dir is not None:
        root = Path(recipe.run.dir)
        if (root / "folds.yaml").exists() and not resume:
            raise RunError(f"{root} already holds folds; go on with them by --resume, or choose another run.dir")
        return root if resume and root.is_dir() else layouts.new_run(root).root
    if resume:
        kept = (layouts.RUNS / layouts.safe_name(name)).glob("*/folds.yaml")
        there = [path.parent for path in sorted(kept, key=lambda path: path.stat().st_mtime_ns, reverse=True)]
        unfinished = [root for root in there if not (root / "folds.json").exists()]
        if there:
            return (unfinished or there)[0]
    return layouts.new_run(layouts.RUNS, name).root


def _keep(root: Path, recipe: Recipe, folds: int) -> None:
    """Write down the recipe and the number of folds, or compare them with what is there: folds of different recipes have no mean."""
    kept = root / "folds.yaml"
    own = recipe.with_values({"data.val": {"fold": [1, folds]}})
    if not kept.exists():
        store.write_text_atomic(kept, to_yaml(own))
        return
    before = load_recipe(kept)
    there = before.data.val.fold if isinstance(before.data.val, HoldOut) else None
    if there is None or there[1] != folds:
        hint = "give the same number, or start anew without --resume"
        raise session.Refused(f"{root} holds {there[1] if there else 0} folds, received --folds {folds}; {hint}")
    changes = [f"{key}: {old} -> {new}" for key, old, new in diff(before, own) if not key.startswith(_THEIR_OWN)]
    if changes:
        listed = "\n  ".join(changes)
        hint = "give the same recipe, or start anew without --resume"
        raise session.Refused(f"the recipe is not that of the folds in {root}:\n  {listed}\n{hint}")


def _finished(layout: Layout) -> bool:
    return (store.read_pointer(layout.last) or {}).get("finished") is True and (layout.evaluation("val") / "metrics.json").exists()


def _measured(layout: Layout) -> dict[str, Any]:
    return store.read_json(layout.evaluation("val") / "metrics.json")


def _write(found: Folds, recipe: Recipe, folds: int) -> None:
    """predictions.csv of all folds, in which every sample stands once; folds.csv, report.html, and folds.json last: all is done then."""
    root = found.root
    lines: list[dict[str, Any]] = []
    for row in found.rows:
        with (Layout(Path(row["run"])).evaluation("val") / "predictions.csv").open(encoding="utf-8-sig", newline="") as file:
            lines += [{"fold": row["fold"], **line} for line in csv.DictReader(file)]
    store.write_text_atomic(root / "predictions.csv", "\N{BYTE ORDER MARK}" + to_csv(lines))
    store.write_text_atomic(root / "folds.csv", "\N{BYTE ORDER MARK}" + to_csv(found.rows))
    spread = "".join(
        f"<tr><td>{escape(row['metric'])}</td><td>{row['mean']:.4g}</td><td>± {row['std']:.2g}</td></tr>" for row in found.table
    )
    links = "".join(f'<li><a href="fold-{row["fold"]}/evaluation/val/report.html">fold {row["fold"]}</a></li>' for row in found.rows)
    parts = [
        f'<section><h2>Mean and spread 均值与标准差</h2><table><tr><th></th><th>mean</th><th>std</th></tr>{spread}</table></section>',
        "<section><h2>Folds 各折</h2>" + report.table([{k: v for k, v in row.items() if k != "run"} for row in found.rows], "folds.csv"),
        f"<ul>{links}</ul></section>",
    ]
    report.page(root / "report.html", f"{session.name_of(recipe)}: {folds} folds", str(root), parts)
    plain_table = [{key: plain(value) for key, value in row.items()} for row in found.table]
    store.write_json_atomic(root / "folds.json", {"folds": folds, "rows": found.rows, "table": plain_table})
