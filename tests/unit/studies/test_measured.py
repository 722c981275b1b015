"""The predicted peak against what real steps of the engine take, in a fresh process each: within 15 %."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from liandan.recipe import find, load_recipe
from liandan.runtime import assemble
from liandan.runtime.device import Device
from liandan.studies.measure import Failed, measure
from liandan.studies.plan import _FIXED as FIXED
from liandan.studies.plan import Overhead, counter, first_batch, measured_overhead, sizes
from tests.zygote import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux lets a process begin its peak again"),
]
PLAIN = ["train.ema=null", "train.precision=fp32", "train.threads=1", "data.workers=0", "checkpoint.every.steps=1000"]
PHOTOS = [
    *PLAIN, "model={name: timm/resnet18}", "optimizer={name: adamw, lr: 1e-4}", "train.batch_size=8", "train.micro_batch_size=8",
    "data.transforms.train=[{name: resize, size: [224, 224]}, to_float, {name: normalize, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}]",
    "data.transforms.eval=[{name: resize, size: [224, 224]}, to_float, {name: normalize, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}]",
]  # fmt: skip
CASES = {
    "resnet18 at 224": ("image_classification/tiny", PHOTOS),
    "vit_small at 224": ("image_classification/tiny", [*PHOTOS, "model={name: timm/vit_small_patch16_224}"]),
    "gpt of 10 M": (
        "language_model/tiny",
        [*PLAIN, "model={name: liandan/gpt, n_layer: 8, n_head: 5, width: 320}", "data.text={vocab_size: 512, context: 128}",
         "train.batch_size=8", "train.micro_batch_size=4"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_peak_is_predicted_within_15_per_cent(name: str) -> None:
    """What malloc keeps is learned from steps with half the micro-batch."""
    recipe = load_recipe(find(CASES[name][0]), CASES[name][1])
    parts = assemble.assemble(recipe, Device())
    count = counter(parts, first_batch(parts))
    beside, peak = measured_overhead(recipe, parts, count, 1 << 40), count(sizes(parts)).peak
    predicted, measured = peak + beside.of(peak), measure(recipe).growth
    print(f"{name}: tensors {peak >> 20}, kept {beside.part:.2f}, predicted {predicted >> 20}, measured {measured >> 20} MiB")
    assert predicted == pytest.approx(measured, rel=0.15)


def test_an_adapted_language_model_is_predicted_too() -> None:
    """A module and a task are enough: SmolLM2-135M's sizes, LoRA on every linear layer."""
    pytest.importorskip("transformers")
    small, full = (lora_steps(size) for size in (2, 4))
    part = (small["measured"] - FIXED) / small["counted"] - 1
    predicted = full["counted"] + Overhead(FIXED, part).of(full["counted"])
    print(f"LoRA: tensors {full['counted'] >> 20}, kept {part:.2f}, predicted {predicted >> 20}, measured {full['measured'] >> 20} MiB")
    assert predicted == pytest.approx(full["measured"], rel=0.15)


def lora_steps(size: int) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.unit.studies.lora_steps", str(size)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_run_that_cannot_be_made_says_why() -> None:
    recipe = load_recipe(find("image_classification/tiny"), ["data.train=nowhere"])
    with pytest.raises(Failed, match="nowhere"):
        measure(recipe)
