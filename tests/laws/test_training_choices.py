"""The laws with everything a training recipe may choose: mixing, sampling, class weights, plateaus, unfreezing, layer decay."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from tests.journeys import ONE_THREAD, TINY, differences, fingerprint, movement, rows, weights
from tests.zygote import Zygote

IMAGES = TINY["image_classification"]
CHOICES = [
    "data.transforms.mix={mixup: 0.4, cutmix: 1.0, probability: 0.8}",
    "data.sampling={name: balanced}",
    "loss={name: cross_entropy, label_smoothing: 0.1, class_weights: balanced}",
]
EXACT = [
    *CHOICES, "model.dropout=0", "model.norm=false", "train.precision=fp64", "train.ema=null", "data.workers=0", "train.duration.steps=4",
    "train.batch_size=12", "evaluate.every.steps=4", "optimizer={name: sgd, lr: 0.05, weight_decay: 0.01, layer_decay: 0.7}",
    "schedule={name: constant}", "checkpoint={every: {steps: 1}, keep: 9}", *ONE_THREAD,
]  # fmt: skip
LONG = [
    *CHOICES, "train.duration.steps=30", "evaluate.every.steps=5", "checkpoint.every.steps=4", "data.workers=0", "train.batch_size=300",
    "optimizer={name: adamw, lr: 3e-3, weight_decay: 0.01, layer_decay: 0.8}", *ONE_THREAD,
    # a plateau that is reached at once: nothing is better by half of itself
    "schedule={name: plateau, patience: 0, factor: 0.5, threshold: 0.5, warmup: {steps: 3}}",
    "model.freeze=[features, hidden]", "model.unfreeze=[{at: {steps: 9}, modules: [hidden]}, {at: {epochs: 3.2}, modules: [features.0]}]",
]  # fmt: skip


def split(zygote: Zygote, folder: Path, name: str, size: int, processes: int = 1, mutant: str | None = None) -> Path:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} if processes > 1 else {}
    words = ["train", IMAGES, *EXACT, f"train.micro_batch_size={size}", f"run.dir={name}", "--quiet"]
    before = [f"tests.mutants:{mutant}"] if mutant else []
    children = [zygote.start(*words, cwd=folder, env={**group, "RANK": str(r)} if group else {}, before=before) for r in range(processes)]
    for child in children:
        assert child.wait() == 0, child.text()
    return folder / name


def start_of(run: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(run / "checkpoints" / "step-00000001" / "model.safetensors")


def test_splitting_changes_rounding_only(zygote: Zygote, tmp_path: Path) -> None:
    whole = split(zygote, tmp_path, "whole", 12)
    for name, size, processes in (("by5", 5, 1), ("by5on2", 5, 2)):
        divided = split(zygote, tmp_path, name, size, processes)
        gap = movement(weights(whole), weights(divided), start_of(whole))
        assert gap <= 1e-12, f"{name}: weights differ by {gap:.1e} of their movement"
        for a, b in zip(rows(whole), rows(divided), strict=True):
            assert all(a[key] == pytest.approx(b[key], rel=1e-9) for key in a)


def test_mixing_with_the_neighbor_is_caught(zygote: Zygote, tmp_path: Path) -> None:
    whole, divided = (split(zygote, tmp_path, name, size, mutant="mix_neighbors") for name, size in (("whole", 12), ("by5", 5)))
    assert movement(weights(whole), weights(divided), start_of(whole)) > 1e-6


def trained(zygote: Zygote, folder: Path, name: str) -> Path:
    child = zygote.run("train", IMAGES, *LONG, f"run.dir={name}", "--quiet", cwd=folder)
    assert child.wait() == 0, child.text()
    return folder / name


def killed(zygote: Zygote, folder: Path, after: int, mutant: str | None = None) -> Path:
    """A run killed after the checkpoint of step `after`, and resumed."""
    words = ["train", IMAGES, *LONG, "run.dir=killed", "--quiet"]
    child = zygote.start(*words, cwd=folder)
    while not child.ended and not (folder / "killed" / "checkpoints" / f"step-{after:08d}").exists():
        time.sleep(0.002)
    child.signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    child = zygote.run(*words, "--resume", cwd=folder, before=[f"tests.mutants:{mutant}"] if mutant else [])
    assert child.wait() == 0, child.text()
    return folder / "killed"


def test_killed_and_resumed_equals_never_stopped(zygote: Zygote, tmp_path: Path) -> None:
    reference = trained(zygote, tmp_path, "whole")
    found = rows(reference)
    rates = [row["lr"] for row in found if row["step"] >= 4]
    assert rates[-1] < rates[0] / 4, "the plateau was not reached: this could not fail"
    for after in (8, 20):
        assert not differences(fingerprint(reference), fingerprint(killed(zygote, tmp_path / str(after), after)))


@pytest.mark.parametrize("mutant", ["sampling_that_remembers", "forget_plateau", "forget_stage", "forget_optimizer"])
def test_what_a_resume_forgets_is_caught(zygote: Zygote, mutant: str, tmp_path: Path) -> None:
    reference = trained(zygote, tmp_path, "whole")
    assert differences(fingerprint(reference), fingerprint(killed(zygote, tmp_path, 20, mutant)))


def moved(zygote: Zygote, folder: Path, steps: int, *overrides: str, mutant: str | None = None) -> set[str]:
    """Names of the weights and statistics that differ from those the run began with."""
    words = [*LONG, "train.ema=null", "evaluate.every.steps=1", "checkpoint={every: {steps: 1}, keep: 99}"]
    before = [f"tests.mutants:{mutant}"] if mutant else []
    first = zygote.run("train", IMAGES, *words, "train.duration.steps=1", "optimizer={name: sgd, lr: 0.0}", "run.dir=first", cwd=folder)
    assert first.wait() == 0, first.text()
    words += [f"train.duration.steps={steps}", f"run.dir=run{steps}", *overrides]
    child = zygote.run("train", IMAGES, *words, cwd=folder, before=before)
    assert child.wait() == 0, child.text()
    a, b = weights(folder / "first"), weights(folder / f"run{steps}")
    return {name for name in a if not np.array_equal(a[name], b[name])}


def parts_of(names: set[str]) -> set[str]:
    return {".".join(name.split(".")[:2]) if name.startswith("features") else name.split(".")[0] for name in names}


def test_what_is_unfrozen_learns_from_its_step_on_and_no_sooner(zygote: Zygote, tmp_path: Path) -> None:
    assert parts_of(moved(zygote, tmp_path, 9)) == {"head"}
    assert parts_of(moved(zygote, tmp_path, 10)) == {"head", "hidden"}
    # 1,438 samples in batches of 300 are five steps an epoch: 3.2 epochs are 16
    assert parts_of(moved(zygote, tmp_path, 16)) == {"head", "hidden"}
    # the BatchNorm features.1 and the second convolution stay as they are
    assert parts_of(moved(zygote, tmp_path, 17)) == {"head", "hidden", "features.0"}


def test_statistics_that_wake_up_are_caught(zygote: Zygote, tmp_path: Path) -> None:
    assert "features.1" in parts_of(moved(zygote, tmp_path, 2, mutant="wake_the_frozen"))
