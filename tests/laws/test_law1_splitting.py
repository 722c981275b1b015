"""Law 1: splitting a batch over micro-batches and processes changes nothing but rounding."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from liandan.tasks import TASKS
from tests.journeys import ONE_THREAD, PLAIN, TINY, movement, rows, weights
from tests.zygote import Zygote

ROUNDING = 1e-12  # of the movement, in double precision
EXACT = [
    "train.precision=fp64",
    "train.ema=null",
    "data.workers=0",
    "train.duration.steps=4",
    "train.batch_size=12",
    "evaluate.every.steps=4",
    "optimizer={name: sgd, lr: 0.05}",
    "schedule={name: constant}",
    "checkpoint={every: {steps: 1}, keep: 9}",
    *ONE_THREAD,
]


def run(zygote: Zygote, task: str, folder: Path, name: str, *overrides: str, processes: int = 1, mutant: str | None = None) -> Path:
    """A run in `processes` forked processes of one group; returns its directory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} if processes > 1 else {}
    words = ["train", TINY[task], *EXACT, *overrides, f"run.dir={name}", "--quiet"]
    before = [f"tests.mutants:{mutant}"] if mutant else []
    children = [zygote.start(*words, cwd=folder, env={**group, "RANK": str(r)} if group else {}, before=before) for r in range(processes)]
    for child in children:
        assert child.wait() == 0, child.text()
    return folder / name


def start_of(folder: Path, name: str) -> dict:
    """Weights after the first step: what all later movement is measured from."""
    from safetensors.numpy import load_file

    return load_file(folder / name / "checkpoints" / "step-00000001" / "model.safetensors")


@pytest.mark.parametrize("task", TASKS)
def test_micro_batches_and_processes_change_rounding_only(zygote: Zygote, task: str, tmp_path: Path) -> None:
    whole = run(zygote, task, tmp_path, "whole", *PLAIN[task], "train.micro_batch_size=12")
    for name, size, processes in (("by5", 5, 1), ("by5on2", 5, 2), ("by8on2", 8, 2)):
        divided = run(zygote, task, tmp_path, name, *PLAIN[task], f"train.micro_batch_size={size}", processes=processes)
        gap = movement(weights(whole), weights(divided), start_of(tmp_path, "whole"))
        assert gap <= ROUNDING, f"{name}: weights differ by {gap:.1e} of their movement"
        for a, b in zip(rows(whole), rows(divided), strict=True):
            for key in a:
                assert a[key] == pytest.approx(b[key], rel=1e-9), (name, key)


@pytest.mark.parametrize("task", TASKS)
def test_with_dropout_and_batchnorm_the_processes_change_rounding_only(zygote: Zygote, task: str, tmp_path: Path) -> None:
    one = run(zygote, task, tmp_path, "one", "train.micro_batch_size=5")
    two = run(zygote, task, tmp_path, "two", "train.micro_batch_size=5", processes=2)
    gap = movement(weights(one), weights(two), start_of(tmp_path, "one"))
    assert gap <= ROUNDING, f"weights and running statistics differ by {gap:.1e} of their movement"


@pytest.mark.parametrize("task", TASKS)
def test_the_mean_of_means_is_caught(zygote: Zygote, task: str, tmp_path: Path) -> None:
    whole = run(zygote, task, tmp_path, "whole", *PLAIN[task], "train.micro_batch_size=12", mutant="mean_of_means")
    divided = run(zygote, task, tmp_path, "by5", *PLAIN[task], "train.micro_batch_size=5", mutant="mean_of_means")
    assert movement(weights(whole), weights(divided), start_of(tmp_path, "whole")) > 1e-6


@pytest.mark.parametrize("task", TASKS)
def test_dropout_that_follows_the_process_is_caught(zygote: Zygote, task: str, tmp_path: Path) -> None:
    one = run(zygote, task, tmp_path, "one", "train.micro_batch_size=5", mutant="dropout_by_rank")
    two = run(zygote, task, tmp_path, "two", "train.micro_batch_size=5", processes=2, mutant="dropout_by_rank")
    assert movement(weights(one), weights(two), start_of(tmp_path, "one")) > 1e-6


@pytest.mark.parametrize("task", ["image_classification", "gan"])  # those whose tiny network has BatchNorm
def test_running_statistics_left_to_each_process_are_caught(zygote: Zygote, task: str, tmp_path: Path) -> None:
    one = run(zygote, task, tmp_path, "one", "train.micro_batch_size=5", mutant="statistics_left_alone")
    two = run(zygote, task, tmp_path, "two", "train.micro_batch_size=5", processes=2, mutant="statistics_left_alone")
    assert movement(weights(one), weights(two), start_of(tmp_path, "one")) > 1e-6
