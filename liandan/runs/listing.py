"""What runs there are, and how each one stands. Reads; changes nothing."""

from __future__ import annotations

import math
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from liandan.runs import tensors
from liandan.runs.layout import RUNS, STEP_FOLDER, Layout, all_runs, created
from liandan.runs.lock import holder
from liandan.runs.record import last_row, plain, read_metrics
from liandan.runs.store import StoreError, newest_valid, read_json, read_pointer, verify

_MOST_VALUES = 100_000


def list_runs(root: str | os.PathLike[str] = RUNS) -> list[dict[str, Any]]:
    """One JSON-able row for each run under `root`, the newest first: path, name, task, status, reason, step, best, started."""
    return [summary(layout) for layout in all_runs(root)]


def summary(layout: Layout) -> dict[str, Any]:
    """One run in a row. best: {"metric", "value", "step"} or None; started: local time, ISO 8601."""
    state, reason = status(layout)
    row = last_row(layout) or {}
    pointer = read_pointer(layout.last) or {}
    return {
        "path": str(layout.root),
        "name": layout.name,
        "task": recipe_values(layout).get("task"),
        "status": state,
        "reason": reason,
        "step": max(row.get("step") or 0, pointer.get("step") or 0),
        "best": best(layout),
        "started": datetime.fromtimestamp(created(layout)[0]).astimezone().isoformat(timespec="seconds"),
    }


def status(layout: Layout) -> tuple[str, str | None]:
    """(running | finished | interrupted | failed, reason).

    Running: a process holds the lock. Finished, and the reason of anything else, are what the writer put into last.json; a run that
    was killed had no time to, and counts as interrupted."""
    writer = holder(layout)
    if writer is not None:
        return "running", f"process {writer.get('pid')} on {writer.get('host')}"
    pointer = read_pointer(layout.last) or {}
    reason = pointer.get("reason")
    if pointer.get("finished"):
        return "finished", reason
    if reason is None or str(reason).startswith("interrupted"):
        return "interrupted", reason
    return "failed", reason


def show(layout: Layout) -> dict[str, Any]:
    """Everything worth knowing about one run, JSON-able: `summary` and epoch, seconds, metrics (the last value of each), parameters,
    checkpoints (step, bytes, fault), bytes, recipe, environment."""
    row = last_row(layout) or {}
    return {
        **summary(layout),
        "epoch": row.get("epoch"),
        "seconds": row.get("seconds"),
        "metrics": {name: plain(value) for name, value in last_metrics(read_metrics(layout)).items()},
        "parameters": parameters(layout),
        "checkpoints": [{"step": step, "bytes": _bytes(path), "fault": verify(path)} for step, path in _checkpoints(layout)],
        "bytes": _bytes(layout.root),
        "recipe": recipe_values(layout),
        "environment": environment(layout),
    }


def best(layout: Layout) -> dict[str, Any] | None:
    """{"metric", "value", "step"} of the best evaluation: what best.json says, else found in the rows by the recipe's evaluate.best."""
    pointer = read_pointer(layout.best)
    if pointer and pointer.get("metric") is not None:
        return {"metric": pointer["metric"], "value": plain(pointer.get("value")), "step": pointer.get("step")}
    wanted = recipe_values(layout).get("evaluate")
    wanted = wanted.get("best") if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or "metric" not in wanted:
        return None
    metric = wanted["metric"]
    rows = [row for row in read_metrics(layout) if isinstance(row.get(metric), (int, float)) and row[metric] == row[metric]]
    if not rows:
        return None
    row = (min if wanted.get("mode") == "min" else max)(rows, key=lambda row: row[metric])
    return {"metric": metric, "value": plain(row[metric]), "step": row["step"]}


def last_metrics(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The last value of each metric, in the order of first appearance."""
    values: dict[str, Any] = {}
    for row in rows:
        values.update({name: value for name, value in row.items() if name not in ("step", "epoch", "seconds")})
    return values


def parameters(layout: Layout) -> int | None:
    """How many parameters the run's model has: "parameters" of the newest checkpoint's state.json, else the numbers its model files hold
    (an adapter's alone for an adapter run, buffers included); None without a checkpoint."""
    folder = newest_valid(layout, warn=lambda _: None)
    if folder is None:
        return None
    try:
        stated = read_json(folder / "state.json").get("parameters")
    except (StoreError, AttributeError):
        stated = None
    if isinstance(stated, int):
        return stated
    try:
        return sum(tensors.count_elements(path) for path in folder.glob("model*.safetensors")) or None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):  # a header that is none, or lies
        return None


def recipe_values(layout: Layout) -> dict[str, Any]:
    """The JSON-able values of resolved.yaml, else of recipe.yaml; empty when neither can be read."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    for path in (layout.resolved, layout.recipe):
        try:
            values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeError, YAMLError, RecursionError, ValueError):
            continue
        # Aliases can make a small file stand for more than memory holds; a run directory may come from anywhere.
        if isinstance(values, dict) and _expanded(values, {}) <= _MOST_VALUES:
            return _jsonable(values)
    return {}


def environment(layout: Layout) -> dict[str, Any]:
    """environment.json; empty when it cannot be read."""
    try:
        value = read_json(layout.environment)
    except StoreError:
        return {}
    return value if isinstance(value, dict) else {}


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as {dotted key: value}; lists stay whole, and so does an empty dictionary."""
    if not isinstance(values, dict) or not values:
        return {prefix: values} if prefix else {}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _expanded(value: Any, sizes: dict[int, float]) -> float:
    """How many values `value` is when every alias is written out; infinite for one that contains itself."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in sizes:
        sizes[id(value)] = math.inf
        sizes[id(value)] = 1 + sum(_expanded(inner, sizes) for inner in (value.values() if isinstance(value, dict) else value))
    return sizes[id(value)]


def _jsonable(value: Any) -> Any:
    """YAML knows more than JSON does (dates, sets, infinities)."""
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    return plain(value) if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _checkpoints(layout: Layout) -> list[tuple[int, Path]]:
    try:
        found = [(int(match[1]), path) for path in layout.checkpoints.iterdir() if (match := STEP_FOLDER.fullmatch(path.name))]
    except OSError:
        return []
    return sorted(found)


def _bytes(folder: Path) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue  # deleted by the run that is going on
    return total
