"""An epoch of LeNet-5: liandan's resident data against the usual script with torchvision's dataset and a DataLoader."""

from __future__ import annotations

import json
from typing import Any

from bench import inputs
from bench.measure import PEERS, alternately, best, fresh, listed
from bench.result import Line, Result, Setting

_GOAL = 3.0


def measure(setting: Setting) -> Result:
    """The second epoch, in fresh processes; the first has warmed up."""
    batch = 256
    count = 60_000 if not setting.quick else 1024
    data = inputs.digits(setting.folder / "digits", setting.quick, count)
    root = inputs.as_torchvision(data, setting.folder / "torchvision")
    steps = -(-count // batch)
    recipe = {
        "version": 1, "task": "image_classification", "model": {"name": "liandan/lenet5"}, "optimizer": {"name": "adamw", "lr": 1e-3},
        "data": {
            "train": {"path": str(data), "format": "idx", "split": "train"}, "val": None,
            "transforms": {"train": ["to_float"], "eval": ["to_float"]},
        },
        "train": {"duration": {"epochs": 2}, "batch_size": batch},
    }  # fmt: skip
    made = iter(range(10**6))

    def ours() -> dict[str, Any]:
        request = setting.folder / "request.json"
        values = {**recipe, "run": {"dir": str(setting.folder / f"run-{next(made)}")}}
        request.write_text(json.dumps({"recipe": values, "marks": [steps, 2 * steps], "stop": None, "resume": False}), encoding="utf-8")
        found = fresh(["-m", "bench.ours", request], setting.folder)
        return {"seconds": found["steps"][str(2 * steps)]["seconds"] - found["steps"][str(steps)]["seconds"]}

    def peer(workers: int) -> dict[str, Any]:
        return fresh([PEERS / "lenet5.py", root, "--batch", str(batch), "--workers", str(workers)], setting.folder)

    sides = {"liandan": ours, "0 workers": lambda: peer(0), "2 workers": lambda: peer(2)}
    found = alternately(sides, setting.rounds)
    seconds = {name: best(rounds, "seconds") for name, rounds in found.items()}
    faster = min(("0 workers", "2 workers"), key=seconds.__getitem__)
    ratio = seconds[faster] / seconds["liandan"]
    rounds = {name: listed([r["seconds"] for r in results]) for name, results in found.items()}
    return Result(
        [
            Line(
                f"LeNet-5 epoch, {count:,} images of 28 x 28, batch {batch}",
                f"{seconds[faster]:.2f} s ({faster})", f"{seconds['liandan']:.2f} s", ratio, f"at least {_GOAL:g}", ratio >= _GOAL,
                "; ".join(f"{name} {figures}" for name, figures in rounds.items()),
            )
        ],
        [
            f"The peer has the better of no worker ({seconds['0 workers']:.2f} s) and two persistent ones ({seconds['2 workers']:.2f} s).",
            "The images are MNIST's; Fashion-MNIST has the same shape and count.",
        ],
    )  # fmt: skip
