"""A fine-tuned EfficientNet-Lite0 as ONNX and OpenVINO, in int8 too, against the run's own model as torch computes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import liandan
from bench import inputs, machine
from bench.measure import say
from bench.result import Line, Result, Setting
from liandan import sources
from liandan.deploy.export import NotWorthIt
from liandan.recipe import make_recipe

_GOAL, _LOSS = 8.0, 0.2  # times faster than eager float32 at batch 1; points of accuracy


def measure(setting: Setting) -> Result:
    """`liandan export last --to onnx,openvino --quantize int8`: its table, a line an artefact and batch."""
    run = liandan.train(make_recipe(recipe(setting)))
    try:
        rows, refused = run.export(["onnx", "openvino"], quantize="int8"), ""
    except NotWorthIt as error:
        rows, refused = error.rows, str(error)
    own, *made = rows
    amx = machine.has(machine.describe(), "AMX-BF16")
    lines = []
    for row in made:
        for count, ms in row["latency_ms"].items():
            ratio = own["latency_ms"][count] / ms
            what = f"EfficientNet-Lite0, {row['format']}, batch {count}, against eager float32"
            line = Line(what, f"{own['latency_ms'][count]:.2f} ms", f"{ms:.2f} ms", ratio)
            if row["format"] == "openvino-int8" and count == "1":
                line = replace(line, goal=f"at least {_GOAL:g} where the processor has AMX", met=ratio >= _GOAL)
            lines.append(line)
            say(f"  {lines[-1].what}: {ratio:.2f}")
        lost = 100 * (own["value"] - row["value"])
        aimed = row["format"].endswith("int8")
        lines.append(
            Line(
                f"validation accuracy of {row['format']}, points lost", f"{own['value']:.4f}", f"{row['value']:.4f}",
                goal=f"at most {_LOSS} lost (here {lost:.2f})" if aimed else "", met=lost <= _LOSS if aimed else None,
            )
        )  # fmt: skip
    sizes = ", ".join(f"{row['format']} {row['bytes'] / 1e6:.1f} MB" for row in rows)
    off = ", ".join(f"{row['format']} {row['largest_difference']:.2g}" for row in made)
    found = Result(lines, [f"Sizes: {sizes}.", f"Largest difference of a logit on the validation split: {off}."])
    if refused:
        found.notes.append(f"Not kept: {refused.splitlines()[0]}.")
    if not amx:
        found.notes.append("The goal was set for a processor with AMX; this one has none, and the goal is not claimed here.")
    return found


def recipe(setting: Setting) -> dict[str, Any]:
    """Three epochs of fine-tuning on the cut-out drawings of the catalogue; small, a symbol's network on random color."""
    values: dict[str, Any] = {
        "version": 1, "task": "image_classification", "run": {"dir": str(setting.folder / "run")},
        "optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.02}, "evaluate": {"every": {"epochs": 1}},
    }  # fmt: skip
    if setting.quick:
        photos = inputs.photos(setting.folder / "photos", 32, 64)
        return values | {
            "data": {"train": str(photos), "val": {"hold_out": 0.25}}, "model": {"name": "liandan/lenet5"},
            "train": {"duration": {"steps": 4}, "batch_size": 8},
        }  # fmt: skip
    return values | {
        "data": {"train": "source:tuxpaint-stamps", "val": {"hold_out": 0.2, "stratify": True}},
        "model": {"name": "timm/tf_efficientnet_lite0", "weights": str(min(sources.get("efficientnet-lite0").rglob("*.pth")))},
        "schedule": {"name": "cosine", "warmup": {"epochs": 0.5}}, "train": {"duration": {"epochs": 3}, "batch_size": 32},
    }  # fmt: skip
