"""What laws and faults run: each task's tiny recipe, and how two runs are compared."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from liandan.tasks import TASKS

TINY = {task: f"{task}/tiny" for task in TASKS}

# what makes a task's tiny recipe free of dropout and BatchNorm; a task in the table needs a line here
PLAIN: dict[str, list[str]] = {
    "image_classification": ["model.dropout=0", "model.norm=false"],
    "multi_label": ["model.dropout=0", "model.norm=false"],
    "multi_head": ["model.dropout=0", "model.norm=false"],
    "language_model": ["model.dropout=0"],
    "sft": ["model.dropout=0"],
    "text_classification": ["model.dropout=0"],
    "gan": ["model.dropout=0", "model.norm=none"],
}
ONE_THREAD = ["train.threads=1"]
# of a row: what two equal runs may differ in
WALL_CLOCK = ("seconds", "time/data", "time/prepare", "time/forward", "time/backward", "time/optimizer")


def final(run: Path) -> Path:
    """The newest checkpoint's folder."""
    return run / "checkpoints" / json.loads((run / "checkpoints" / "last.json").read_text())["checkpoint"]


def weights(run: Path) -> dict[str, np.ndarray]:
    return load_file(final(run) / "model.safetensors")


def tensors(run: Path) -> dict[str, np.ndarray]:
    """Every tensor of the newest checkpoint."""
    return {f"{file.name}:{k}": v for file in sorted(final(run).glob("*.safetensors")) for k, v in load_file(file).items()}


def rows(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without wall-clock columns."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in WALL_CLOCK} for row in found]


def fingerprint(run: Path) -> dict[str, Any]:
    """What must be equal, bit for bit, in two runs that are the same run: all tensors, all state but the clock, all rows."""
    digests = {name: hashlib.sha256(value.tobytes()).hexdigest() for name, value in tensors(run).items()}
    state = json.loads((final(run) / "state.json").read_text())
    state["progress"].pop("seconds")
    return {"tensors": digests, "state": state, "rows": rows(run), "val": evaluation(run)}


def evaluation(run: Path) -> Any:
    file = run / "evaluation" / "val" / "metrics.json"
    return json.loads(file.read_text()) if file.exists() else None


def differences(a: Any, b: Any, path: str = "") -> list[str]:
    """Where two fingerprints differ, for a test's message."""
    if isinstance(a, dict) and isinstance(b, dict):
        return [d for k in sorted({*a, *b}) for d in differences(a.get(k), b.get(k), f"{path}/{k}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b, strict=True)) for d in differences(x, y, f"{path}/{i}")]
    return [] if a == b else [f"{path}: {str(a)[:80]} != {str(b)[:80]}"]


def movement(a: dict[str, np.ndarray], b: dict[str, np.ndarray], start: dict[str, np.ndarray]) -> float:
    """Largest difference of two ends, as a fraction of the largest movement from the start."""
    floats = [k for k in a if np.issubdtype(a[k].dtype, np.floating)]
    moved = max(float(np.abs(a[k] - start[k]).max()) for k in floats)
    assert moved > 0, "nothing was learned: this comparison could not fail"
    return max(float(np.abs(a[k] - b[k]).max()) for k in floats) / moved
