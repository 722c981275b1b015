"""Ctrl-C, a scheduler's SIGTERM and its notice SIGUSR1 (R5): a complete checkpoint, the command that goes on, the same end."""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from typing import Any

import pytest

from liandan.runs import store
from tests.faults.moments import children_of, state_of, until, until_halted
from tests.faults.runs import assert_same_run, checkpoints, command_line, free_port, last, words
from tests.zygote import DEADLINE, Child, Zygote

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}
# where the signal arrives, the steps made by then, and the step of the checkpoint that must be there
MOMENTS = {"at_step": (5, 6), "in_evaluation": (6, 6), "in_save": (8, 9)}
CASES = [(moment, signal.SIGINT) for moment in MOMENTS] + [("at_step", signal.SIGTERM), ("in_evaluation", signal.SIGUSR1)]


def halted(zygote: Zygote, folder: Path, moment: str, step: int, *overrides: str) -> Child:
    hooks = [f"tests.faults.moments:{moment}"]
    child = zygote.start(*words("run"), *overrides, cwd=folder, before=hooks, env={"MOMENT": str(step)})
    until_halted(child)
    return child


def printed_command(text: str) -> list[str]:
    """The words after `liandan` of the last line."""
    program, *found = shlex.split(text.splitlines()[-1])
    assert program == "liandan" and "--resume" in found, text
    return found


@pytest.mark.parametrize(("moment", "number"), CASES)
def test_a_signal_leaves_a_checkpoint_and_the_way_to_go_on(
    zygote: Zygote, whole: Path, moment: str, number: signal.Signals, tmp_path: Path
) -> None:
    step, kept = MOMENTS[moment]
    child = halted(zygote, tmp_path, moment, step)
    child.signal(number)
    child.signal(signal.SIGCONT)
    assert child.wait() == CODES[number], child.text()
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


@pytest.mark.parametrize("name", ["20240101", "运行 1: [a]"])  # read back as text, through the shell's quotes and YAML's
def test_a_signal_before_the_first_step(zygote: Zygote, whole: Path, name: str, tmp_path: Path) -> None:
    child = halted(zygote, tmp_path, "at_step", 0, f'run.dir="{name}"')
    child.signal(signal.SIGINT)
    child.signal(signal.SIGCONT)
    assert child.wait() == 130, child.text()
    child = zygote.run(*printed_command(child.text()), cwd=tmp_path)
    assert child.wait() == 0, child.text()
    assert_same_run(whole, tmp_path / name)


def pair(zygote: Zygote, folder: Path, run: str, *overrides: str, **options: Any) -> list[Child]:
    """One run in two processes, started without a launcher."""
    group = {**options.pop("env", {}), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    return [zygote.start(*words(run, *overrides), cwd=folder, env={**group, "RANK": rank}, **options) for rank in ("0", "1")]


def test_processes_leave_an_evaluation_together(zygote: Zygote, tmp_path: Path) -> None:
    small = "evaluate.batch_size=16"  # 23 batches: one process has one more than the other
    for child in pair(zygote, tmp_path, "whole", small):
        assert child.wait() == 0, child.text()
    children = pair(zygote, tmp_path, "run", small, env={"MOMENT": "6"}, before=["tests.faults.moments:in_evaluation"])
    for child in children:
        until_halted(child)
    children[1].signal(signal.SIGTERM)  # one alone hears of it
    for child in children:
        child.signal(signal.SIGCONT)
    codes = [child.wait() for child in children]
    assert codes[1] == 143, [child.text() for child in children]
    assert last(tmp_path / "run")["step"] == 6 and not last(tmp_path / "run")["finished"]
    for child in pair(zygote, tmp_path, "run", small, "--resume"):
        assert child.wait() == 0, child.text()
    assert_same_run(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
def test_a_signal_to_the_launcher_of_two_processes(zygote: Zygote, tmp_path: Path) -> None:
    longer = ["train.duration.steps=80", "evaluate.every.steps=40", "checkpoint.every.steps=20"]
    for child in pair(zygote, tmp_path, "whole", *longer):
        assert child.wait() == 0, child.text()

    output, rows = tmp_path / "real" / "output.txt", tmp_path / "real" / "run" / "metrics.jsonl"
    launcher = command_line(output.parent, *words("run", *longer), "--processes", "2")
    until(lambda: (rows.exists() and rows.read_bytes().count(b"\n") >= 5) or launcher.poll() is not None, "the first steps")
    workers = children_of(launcher.pid)
    launcher.send_signal(signal.SIGUSR1)
    assert launcher.wait(DEADLINE) == 143, output.read_text()
    assert len(workers) == 2 and not any(state_of(pid) for pid in workers)
    assert 0 < last(tmp_path / "real" / "run")["step"] < 80
    command = printed_command(output.read_text(encoding="utf-8"))
    assert command[-2:] == ["--processes", "2"]
    assert command_line(output.parent, *command).wait(DEADLINE) == 0, output.read_text()
    assert_same_run(tmp_path / "whole", tmp_path / "real" / "run")
