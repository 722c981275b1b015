"""Opening and resuming with 10^9 samples against 10^3: a token file of that many windows, which is a hole on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import inputs
from bench.measure import alternately, best, fresh, listed
from bench.result import Line, Result, Setting

_CONTEXT, _BATCH, _VOCABULARY = 16, 8, 64
_NEAR = 1.25  # of the time with a thousand samples, at most: the noise of starting a process
_NEAR_MEMORY = 1.1


def measure(setting: Setting) -> Result:
    """Seconds from the order of the process to the end of its first step, and its memory then; the same for a resume in the middle."""
    counts = {"10^3": 10**3, "10^9": 10**9}
    files = {name: inputs.sparse_tokens(setting.folder / f"{name}.bin", n * _CONTEXT + 1) for name, n in counts.items()}
    val = inputs.sparse_tokens(setting.folder / "val.bin", 100 * _CONTEXT + 1)
    made = iter(range(10**6))

    def side(name: str) -> dict[str, Any]:
        folder = setting.folder / f"run-{next(made)}"
        recipe = {
            "version": 1, "task": "language_model", "run": {"dir": str(folder)},
            "data": {
                "train": {"path": str(files[name]), "vocab_size": _VOCABULARY}, "val": {"path": str(val), "vocab_size": _VOCABULARY},
                "text": {"context": _CONTEXT},
            },
            "model": {"name": "liandan/gpt", "n_layer": 1, "n_head": 2, "width": 32},
            "train": {"duration": {"epochs": 1}, "batch_size": _BATCH}, "evaluate": {"every": {"epochs": 1}},
        }  # fmt: skip
        opened = _first_step(setting.folder, recipe, 1, resume=False)
        middle = counts[name] // _BATCH // 2
        move(folder, middle)
        resumed = _first_step(setting.folder, recipe, middle + 1, resume=True)
        acts = {"open": opened, "resume": resumed}
        return {act: at["seconds"] for act, at in acts.items()} | {f"{act} memory": at["memory"] / 2**20 for act, at in acts.items()}

    found = alternately({name: lambda name=name: side(name) for name in counts}, setting.rounds)
    lines = []
    for act, words in (("open", "to the first step"), ("resume", "to the first step after a resume in the middle")):
        few, many = (best(found[name], act) for name in counts)
        lines.append(_line(f"time {words}", few, many, "s", _NEAR, [[r[act] for r in found[name]] for name in counts]))
        key = f"{act} memory"
        few, many = (best(found[name], key) for name in counts)
        lines.append(_line(f"memory {words}", few, many, "MiB", _NEAR_MEMORY, [[r[key] for r in found[name]] for name in counts]))
    return Result(lines, ["The middle is reached by writing a checkpoint of that step, not by making the steps before it."])


def _line(what: str, few: float, many: float, unit: str, near: float, rounds: list[list[float]]) -> Line:
    digits = 2 if unit == "s" else 0
    return Line(
        f"{what}, 10^9 samples (peer: liandan with 10^3)", f"{few:.{digits}f} {unit}", f"{many:.{digits}f} {unit}", few / many,
        f"constant: at most {near} times", many <= near * few, f"10^3: {listed(rounds[0])}; 10^9: {listed(rounds[1])}",
    )  # fmt: skip


def _first_step(folder: Path, recipe: dict[str, Any], step: int, *, resume: bool) -> dict[str, float]:
    """Start a process, interrupt it after `step`, its first; returns when and with how much memory that was."""
    request = folder / "request.json"
    request.write_text(json.dumps({"recipe": recipe, "marks": [step], "stop": step, "resume": resume}), encoding="utf-8")
    found = fresh(["-m", "bench.ours", request], folder)
    return found["steps"][str(step)]


def move(folder: Path, step: int) -> None:
    """Write a checkpoint of `step` from the one a run has."""
    from liandan.runs import store
    from liandan.runs.layout import Layout

    layout = Layout(folder)
    newest = store.newest_valid(layout, lambda text: None)
    assert newest is not None, f"{folder} has no checkpoint"
    tensors, documents = store.read_checkpoint(newest)
    documents["state.json"]["progress"]["step"] = step
    store.write_checkpoint(layout, step, tensors, documents)
