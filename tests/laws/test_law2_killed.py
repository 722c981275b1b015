"""Law 2: killed anywhere and resumed equals never stopped, bit for bit."""

from __future__ import annotations

import functools
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from liandan.tasks import TASKS
from tests.journeys import ONE_THREAD, TINY, differences, fingerprint
from tests.zygote import Zygote

KILLS = int(os.environ.get("KILLS", "3"))
SHORT = ["train.duration.steps=30", "evaluate.every.steps=10", "checkpoint.every.steps=4", *ONE_THREAD]


def words(task: str, name: str, workers: int) -> list[str]:
    return ["train", TINY[task], *SHORT, f"data.workers={workers}", f"run.dir={name}", "--quiet"]


def whole(zygote: Zygote, task: str, folder: Path, workers: int = 0) -> tuple[Path, float]:
    """An uninterrupted run and the seconds it took."""
    began = time.monotonic()
    child = zygote.run(*words(task, "whole", workers), cwd=folder)
    assert child.wait() == 0, child.text()
    return folder / "whole", time.monotonic() - began


@pytest.fixture(scope="module")
def never_stopped(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """What a task's uninterrupted run ends in, computed once for all that is compared with it."""
    return functools.cache(lambda task: fingerprint(whole(zygote, task, tmp_path_factory.mktemp(task))[0]))


def interrupted(zygote: Zygote, task: str, folder: Path, moments: list[float], workers: int = 0, mutant: str | None = None) -> Path:
    """A run killed so many seconds after each of its starts, then resumed to its end; the mutant is in the resumed ones."""
    resume: list[str] = []
    for moment in moments:
        child = zygote.start(*words(task, "killed", workers), *resume, cwd=folder)
        deadline = time.monotonic() + moment
        while time.monotonic() < deadline and not child.ended:
            time.sleep(0.005)
        child.signal(signal.SIGKILL)
        assert child.wait() in (0, -signal.SIGKILL), child.text()
        resume = ["--resume"]
    child = zygote.run(*words(task, "killed", workers), *resume, cwd=folder, before=[f"tests.mutants:{mutant}"] if mutant else [])
    assert child.wait() == 0, child.text()
    return folder / "killed"


@pytest.fixture(scope="module")
def killed(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a task's run that was killed once, between two checkpoints past step 10; every resume begins from a copy of it."""

    @functools.cache
    def killed(task: str) -> Path:
        folder = tmp_path_factory.mktemp(task)
        child = zygote.start(*words(task, "killed", 0), cwd=folder)
        while not child.ended and not (folder / "killed" / "checkpoints" / "step-00000012").exists():
            time.sleep(0.002)
        child.signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL, "the run ended before it could be killed"
        return folder

    return killed


def resumed(zygote: Zygote, task: str, killed: Path, folder: Path, mutant: str | None = None) -> Path:
    """What was killed, resumed to its end in another folder, the mutant in it."""
    shutil.copytree(killed, folder, dirs_exist_ok=True)
    child = zygote.run(*words(task, "killed", 0), "--resume", cwd=folder, before=[f"tests.mutants:{mutant}"] if mutant else [])
    assert child.wait() == 0, child.text()
    return folder / "killed"


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("task", TASKS)
def test_killed_anywhere_and_resumed_equals_never_stopped(zygote: Zygote, task: str, workers: int, tmp_path: Path) -> None:
    reference, seconds = whole(zygote, task, tmp_path, workers)
    seed = random.Random(f"{task}-{workers}")
    kills = KILLS if workers == 0 else max(1, KILLS // 3)
    # some from the whole length of a run, some early: a resumed run has less before it
    moments = [seed.uniform(0.05, seconds if i % 2 == 0 else seconds / 2) for i in range(kills)]
    run = interrupted(zygote, task, tmp_path, moments, workers)
    assert not differences(fingerprint(reference), fingerprint(run)), moments


@pytest.mark.parametrize("task", TASKS)
def test_killed_between_checkpoints_equals_never_stopped(
    zygote: Zygote, never_stopped: Callable[[str], Any], killed: Callable[[str], Path], task: str, tmp_path: Path
) -> None:
    assert not differences(never_stopped(task), fingerprint(resumed(zygote, task, killed(task), tmp_path)))


MUTANTS = [(task, mutant) for task in TASKS for mutant in ("forget_optimizer", "forget_average", "unkeyed_dropout", "forget_position")]


@pytest.mark.parametrize(("task", "mutant"), [*MUTANTS, ("gan", "forget_task")])
def test_what_a_resume_forgets_is_caught(
    zygote: Zygote, never_stopped: Callable[[str], Any], killed: Callable[[str], Path], task: str, mutant: str, tmp_path: Path
) -> None:
    assert differences(never_stopped(task), fingerprint(resumed(zygote, task, killed(task), tmp_path, mutant)))
