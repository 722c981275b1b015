"""Ctrl-C, a scheduler's SIGTERM and its notice SIGUSR1 (R5): a complete checkpoint, the command that goes on, and the same bits in the end."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from liandan.runs import store
from tests.faults.moments import children_of, until, until_halted
from tests.faults.runs import assert_same_run, checkpoints, finished, last, words
from tests.journeys import TINY, differences, fingerprint
from tests.zygote import ROOT, Child, Zygote

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}
# where the signal arrives, the steps made by then, and the step of the checkpoint that must be there
MOMENTS = {"at_step": (5, 6), "in_evaluation": (6, 6), "in_save": (8, 9)}


@pytest.fixture(scope="module")
def whole(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(zygote, tmp_path_factory.mktemp("whole"))


def halted(zygote: Zygote, folder: Path, moment: str, step: int, *overrides: str) -> Child:
    hooks = [f"tests.faults.moments:{moment}"]
    child = zygote.start(*words("run", *overrides), cwd=folder, before=hooks, env={"MOMENT": str(step)})
    until_halted(child)
    return child


def printed_command(text: str) -> list[str]:
    """The words after `liandan` of the last line."""
    program, *found = shlex.split(text.splitlines()[-1])
    assert program == "liandan" and "--resume" in found, text
    return found


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_leaves_a_checkpoint_and_the_way_to_go_on(zygote: Zygote, whole: Path, moment: str, number: int, tmp_path: Path) -> None:
    step, kept = MOMENTS[moment]
    child = halted(zygote, tmp_path, moment, step)
    child.signal(number)
    child.signal(signal.SIGCONT)
    assert child.wait() == CODES[signal.Signals(number)], child.text()
    run = tmp_path / "run"
    assert last(run)["step"] == kept and not last(run)["finished"]
    assert store.verify(run / "checkpoints" / f"step-{kept:08d}") is None
    assert not [name for name in checkpoints(run) if name.endswith(".tmp")]
    child = zygote.run(*printed_command(child.text()), cwd=tmp_path)
    assert child.wait() == 0, child.text()
    assert f"resumed at step {kept}" in child.text()
    assert_same_run(whole, run)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_second_signal_ends_it_at_once(zygote: Zygote, whole: Path, moment: str, tmp_path: Path) -> None:
    step, _ = MOMENTS[moment]
    child = halted(zygote, tmp_path, moment, step)
    child.signal(signal.SIGTERM)
    child.signal(signal.SIGINT)  # both wait until it goes on
    child.signal(signal.SIGCONT)
    assert child.wait() in (130, 143), child.text()
    run = tmp_path / "run"
    assert not (run / "checkpoints" / f"step-{MOMENTS[moment][1]:08d}").exists(), "it took its time"
    child = zygote.run(*words("run"), "--resume", cwd=tmp_path)
    assert child.wait() == 0, child.text()
    assert_same_run(whole, run)


def test_a_signal_before_the_first_step(zygote: Zygote, whole: Path, tmp_path: Path) -> None:
    child = halted(zygote, tmp_path, "at_step", 0)
    child.signal(signal.SIGINT)
    child.signal(signal.SIGCONT)
    assert child.wait() == 130, child.text()
    child = zygote.run(*printed_command(child.text()), cwd=tmp_path)
    assert child.wait() == 0, child.text()
    assert_same_run(whole, tmp_path / "run")


def command_line(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`python -m liandan ...`, a process of its own; what it says is in output.txt."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(folder / "output.txt", "w", encoding="utf-8") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "liandan", *arguments], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
