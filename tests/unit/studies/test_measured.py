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
from liandan.studies.plan import counter, first_batch, overhead, sizes
from tests.zygote import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux lets a process begin its peak again"),
]
PLAIN = ["train.ema=null", "train.precision=fp32", "train.threads=1", "data.workers=0", "checkpoint.every.steps=1000"]
PHOTOS = [
    *PLAIN, "model={name: timm/resnet18}", "optimizer={name: adamw, lr: 1e-4}", "train.batch_size=16", "train.micro_batch_size=16",
    "data.transforms.train=[{name: resize, size: [224, 224]}, to_float, {name: normalize, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}]",
    "data.transforms.eval=[{name: resize, size: [224, 224]}, to_float, {name: normalize, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}]",
]  # fmt: skip
CASES = {
    "resnet18 at 224": ("image_classification/tiny", PHOTOS),
    "vit_small at 224": ("image_classification/tiny", [*PHOTOS, "model={name: timm/vit_small_patch16_224}", "train.batch_size=8", "train.micro_batch_size=8"]),
    "gpt of 10 M": (
        "language_model/tiny",
        [*PLAIN, "model={name: liandan/gpt, n_layer: 8, n_head: 5, width: 320}", "data.text={vocab_size: 512, context: 128}"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_peak_is_predicted_within_15_per_cent(name: str) -> None:
    recipe = load_recipe(find(CASES[name][0]), CASES[name][1])
    parts = assemble.assemble(recipe, Device())
    counted = counter(parts, first_batch(parts))(sizes(parts))
    predicted, measured = counted.peak + overhead(parts.device, counted.peak), measure(recipe).growth
    print(f"{name}: predicted {predicted / 2**20:,.0f} MiB, measured {measured / 2**20:,.0f} MiB, counted {counted}")
    assert predicted == pytest.approx(measured, rel=0.15)


def test_an_adapted_language_model_is_predicted_too() -> None:
    """A module and a task are enough: SmolLM2-135M's sizes, LoRA on every linear layer."""
    pytest.importorskip("transformers")
    command = [sys.executable, "-m", "tests.unit.studies.lora_steps"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["predicted"] == pytest.approx(found["measured"], rel=0.15)


def test_a_run_that_cannot_be_made_says_why() -> None:
    recipe = load_recipe(find("image_classification/tiny"), ["data.train=nowhere"])
    with pytest.raises(Failed, match="nowhere"):
        measure(recipe)
