"""int8: what it is calibrated on, and whether it is worth having."""

from __future__ import annotations

from typing import Any

import numpy as np

from liandan.deploy.prove import TIMED, examples, inputs_of
from liandan.runtime.opened import OpenRun

_SAMPLES = 300  # NNCF's own default


def calibration(run: OpenRun) -> list[dict[str, np.ndarray]]:
    """Inputs of the model, a sample at a time: at most 300, spread evenly over the training split, without augmentation.

    The validation split has no part in it: what it says of the quantized model would be worth less.

    Raises:
        RunError, DataError: the training data is not here, or not what it was. ValueError: none of it can be read.
    """
    loader, _ = run.unaugmented(run.source(split="train")[0])
    chosen = examples(loader.samples, _SAMPLES)
    if not chosen:
        raise ValueError("no sample of the training split can be read")
    made = (inputs_of(run, loader.samples.collate([sample])) for sample in chosen)
    return [{name: np.ascontiguousarray(tensor.numpy()) for name, tensor in inputs.items()} for inputs in made]


def drop(own: float, value: float, mode: str) -> float:
    """What was lost: points (hundredths) of a metric that is to be large, percent of one that is to be small."""
    return 100 * (own - value) if mode == "max" else 100 * (value - own) / max(abs(own), 1e-12)


def refusal(row: dict[str, Any], floats: dict[str, Any], own: dict[str, Any], mode: str, max_drop: float) -> str:
    """Why a quantized artefact is not worth having, with its figures; empty where it is.

    Args:
        row, floats, own: of the quantized artefact, of the float one of the same format, of the run's own model.
    """
    reasons = []
    for count in TIMED:
        ours, theirs = (one["latency_ms"][str(count)] for one in (row, floats))
        if ours > theirs:
            reasons.append(f"at batch {count} it takes {ours:.3g} ms, {floats['format']} {theirs:.3g} ms")
    if row["value"] is None:
        reasons.append("there is no validation data to say what it loses")
    elif (lost := drop(own["value"], row["value"], mode)) > max_drop:
        unit = "points" if mode == "max" else "percent"
        values = f"{row['value']:.4f}, the run's {own['value']:.4f}"
        reasons.append(f"its {row['metric']} is {values}: {lost:.2f} {unit} lost, at most {max_drop:g} are allowed")
    return "; ".join(reasons)
