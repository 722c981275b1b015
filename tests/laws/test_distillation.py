"""A student and its teacher: split in any way, resumed with no other teacher, and never taught by one who sees other things."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.journeys import ONE_THREAD, TINY, movement, weights
from tests.zygote import Child, Zygote

IMAGES = TINY["image_classification"]
COMMON = ["data.workers=0", "train.ema=null", "schedule={name: constant}", "checkpoint={every: {steps: 1}, keep: 9}", *ONE_THREAD]
STUDENT = [
    *COMMON, "train.precision=fp64", "train.batch_size=12", "train.micro_batch_size=12",
    "model={dropout: 0, norm: false, width: 0.5}", "optimizer={name: sgd, lr: 0.05}",
    "loss={name: distillation, teacher: run:runs/teacher, temperature: 3, alpha: 0.7, label_smoothing: 0.1}", "train.duration.steps=4",
    "data.transforms.mix={mixup: 0.4}", "evaluate.every.steps=4",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/teacher in it."""
    made = tmp_path_factory.mktemp("distillation")
    words = [*COMMON, "train.duration.steps=12", "evaluate.every.steps=12", "run.dir=runs/teacher"]
    child = zygote.run("train", IMAGES, *words, cwd=made)
    assert child.wait() == 0, child.text()
    return made


def student(zygote: Zygote, folder: Path, name: str, *overrides: str) -> Child:
    return zygote.run("train", IMAGES, *STUDENT, *overrides, f"run.dir={name}", cwd=folder)


def test_splitting_changes_rounding_only_and_the_teacher_matters(zygote: Zygote, folder: Path) -> None:
    for name, words in (("whole", ["train.micro_batch_size=12"]), ("by5", ["train.micro_batch_size=5"]), ("alone", ["loss.alpha=0"])):
        child = student(zygote, folder, name, *words)
        assert child.wait() == 0, child.text()
    start = load_file(folder / "whole" / "checkpoints" / "step-00000001" / "model.safetensors")
    whole = weights(folder / "whole")
    assert movement(whole, weights(folder / "by5"), start) <= 1e-12
    assert movement(whole, weights(folder / "alone"), start) > 1e-2
    told = json.loads((folder / "whole" / "data.json").read_text())["teachers"]["loss.teacher"]
    assert told["checkpoint"] == "step-00000012"


def test_a_resume_with_another_teacher_is_refused(zygote: Zygote, folder: Path) -> None:
    assert student(zygote, folder, "first").wait() == 0
    shutil.move(folder / "runs" / "teacher", folder / "runs" / "kept")
    try:
        words = [*COMMON, "train.duration.steps=2", "evaluate.every.steps=2", "run.dir=runs/teacher"]
        assert zygote.run("train", IMAGES, *words, cwd=folder).wait() == 0
        child = student(zygote, folder, "first", "train.duration.steps=5", "--resume")
        assert child.wait() == 3 and "the teacher is not the one" in child.text(), child.text()
    finally:
        shutil.rmtree(folder / "runs" / "teacher")
        shutil.move(folder / "runs" / "kept", folder / "runs" / "teacher")
    assert student(zygote, folder, "first", "train.duration.steps=5", "--resume").wait() == 0


def test_a_teacher_that_sees_other_things_is_refused(zygote: Zygote, folder: Path) -> None:
    other = "data.transforms.eval=[{name: resize, size: [16, 16]}, to_float, {name: normalize, mean: [0.4], std: [0.5]}]"
    child = student(zygote, folder, "other", other)
    assert child.wait() == 2 and "loss" in child.text() and "the same data.transforms.eval" in child.text(), child.text()
    child = student(zygote, folder, "nobody", "loss.teacher=run:nobody")
    assert child.wait() == 2 and "nobody" in child.text() and "Traceback" not in child.text()
