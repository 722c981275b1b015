"""The laws with everything a training recipe may choose: mixing, sampling, class weights, plateaus, unfreezing, layer decay."""

from __future__ import annotations

import itertools
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.journeys import ONE_THREAD, TINY, differences, fingerprint, movement, rows, weights
from tests.zygote import Zygote

IMAGES = TINY["image_classification"]
CHOICES = [
    "data.transforms.train=[{name: resize, size: [16, 16]}, to_float, {name: normalize, mean: [0.5], std: [0.5]}]",
    "data.transforms.mix={mixup: 0.4, cutmix: 1.0, probability: 0.8}",
    "data.sampling={name: balanced}",
    "loss={name: cross_entropy, label_smoothing: 0.1, class_weights: balanced}",
    "data.workers=0",
    *ONE_THREAD,
]
EXACT = [
    *CHOICES, "model.dropout=0", "model.norm=false", "train.precision=fp64", "train.ema=null", "train.duration.steps=4",
    "train.batch_size=12", "evaluate.every.steps=4", "optimizer={name: sgd, lr: 0.05, weight_decay: 0.01, layer_decay: 0.7}",
    "schedule={name: constant}", "checkpoint={every: {steps: 1}, keep: 9}",
]  # fmt: skip
LONG = [
    *CHOICES, "train.duration.steps=20", "evaluate.every.steps=4", "checkpoint.every.steps=3", "train.batch_size=96",
    "optimizer={name: adamw, lr: 3e-3, weight_decay: 0.01, layer_decay: 0.8}",
    # a plateau at once: nothing is eleven times better than the first
    "schedule={name: plateau, patience: 0, factor: 0.5, threshold: 10, warmup: {steps: 3}}",
    # 1,438 samples in batches of 96 are 15 steps an epoch: 0.8 epochs are 12
    "model.freeze=[features, hidden]", "model.unfreeze=[{at: {steps: 7}, modules: [hidden]}, {at: {epochs: 0.8}, modules: [features.0]}]",
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


@pytest.fixture(scope="module")
def reference(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that was never stopped."""
    folder = tmp_path_factory.mktemp("reference")
    child = zygote.run("train", IMAGES, *LONG, "run.dir=whole", "--quiet", cwd=folder)
    assert child.wait() == 0, child.text()
    return folder / "whole"


def killed(zygote: Zygote, folder: Path, after: int, mutant: str | None = None) -> Path:
    """A run killed after the checkpoint of step `after`, and resumed."""
    words = ["train", IMAGES, *LONG, "run.dir=killed", "--quiet"]
    child = zygote.run(*words, cwd=folder, before=["tests.faults.moments:die_at_step"], env={"MOMENT": str(after + 1)})
    assert child.wait() == -signal.SIGKILL, child.text()
    child = zygote.run(*words, "--resume", cwd=folder, before=[f"tests.mutants:{mutant}"] if mutant else [])
    assert child.wait() == 0, child.text()
    return folder / "killed"


def test_the_plateau_is_reached(reference: Path) -> None:
    rates = [row["lr"] for row in rows(reference) if row["step"] >= 4]
    assert rates[0] == pytest.approx(3e-3) and rates[-1] <= rates[0] / 8


def test_killed_and_resumed_equals_never_stopped(zygote: Zygote, reference: Path, tmp_path: Path) -> None:
    assert not differences(fingerprint(reference), fingerprint(killed(zygote, tmp_path, 9)))


@pytest.mark.parametrize("mutant", ["sampling_that_remembers", "forget_plateau", "forget_stage"])
def test_what_a_resume_forgets_is_caught(zygote: Zygote, reference: Path, mutant: str, tmp_path: Path) -> None:
    assert differences(fingerprint(reference), fingerprint(killed(zygote, tmp_path, 15, mutant)))


def moves(zygote: Zygote, folder: Path, mutant: str | None = None) -> list[set[str]]:
    """For each step after the first, the parts of the model of which a weight or a statistic moved in it."""
    words = [*LONG, "train.ema=null", "train.duration.steps=14", "schedule={name: constant}"]
    before = [f"tests.mutants:{mutant}"] if mutant else []
    words += ["checkpoint={every: {steps: 1}, keep: 99}", "run.dir=run"]
    child = zygote.run("train", IMAGES, *words, cwd=folder, before=before)
    assert child.wait() == 0, child.text()
    files = sorted((folder / "run" / "checkpoints").glob("step-*/model.safetensors"))
    found = [load_file(file) for file in files]
    changed = [{name for name in a if not np.array_equal(a[name], b[name])} for a, b in itertools.pairwise(found)]
    return [{".".join(name.split(".")[: 1 + name.startswith("features")]) for name in names} for names in changed]


def test_what_is_unfrozen_learns_from_its_step_on_and_no_sooner(zygote: Zygote, tmp_path: Path) -> None:
    """Of what stays frozen, neither the second convolution nor the statistics of a BatchNorm (features.1, features.5) move."""
    first, second, third = {"head"}, {"head", "hidden"}, {"head", "hidden", "features.0"}
    assert moves(zygote, tmp_path) == [first] * 6 + [second] * 5 + [third] * 2


def test_statistics_that_wake_up_are_caught(zygote: Zygote, tmp_path: Path) -> None:
    assert "features.1" in moves(zygote, tmp_path, "wake_the_frozen")[0]
