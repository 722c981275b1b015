"""The small run that faults are done to, and what must be left of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from liandan.runs import store
from tests.journeys import ONE_THREAD, TINY, differences, fingerprint
from tests.zygote import ROOT, Child, Zygote

# dropout, augmentation, accumulation and an average are on, as in the tiny recipe; checkpoints at 4, 6 (the best), 8, 12
SHORT = ["train.duration.steps=12", "evaluate={every: {steps: 6}, metrics: [loss, accuracy]}", "checkpoint.every.steps=4", "data.workers=0",
         *ONE_THREAD]  # fmt: skip


def words(run: str | Path, *overrides: str) -> list[str]:
    return ["train", TINY["image_classification"], *SHORT, *overrides, f"run.dir={run}"]


def finished(zygote: Zygote, folder: Path, *overrides: str, name: str = "whole") -> Path:
    """An uninterrupted run."""
    child = zygote.run(*words(name, *overrides), cwd=folder)
    assert child.wait() == 0, child.text()
    return folder / name


def killed(zygote: Zygote, folder: Path, step: int, *overrides: str, name: str = "killed") -> Path:
    """A run killed after so many steps."""
    child = zygote.run(*words(name, *overrides), cwd=folder, before=["tests.faults.moments:die_at_step"], env={"MOMENT": str(step)})
    assert child.wait() == -9, child.text()
    return folder / name


def resumed(zygote: Zygote, run: Path, *overrides: str) -> Child:
    """The end of a run that goes on."""
    return zygote.run(*words(run.name, *overrides), "--resume", cwd=run.parent)


def checkpoints(run: Path) -> list[str]:
    """Names of the folders under checkpoints/."""
    return sorted(path.name for path in (run / "checkpoints").iterdir() if path.is_dir())


def assert_same_run(whole: Path, run: Path) -> None:
    """Equal bits, equal rows, as many checkpoints, each of them whole, and nothing unfinished."""
    found = differences(fingerprint(whole), fingerprint(run))
    assert not found, "\n".join(found[:9])
    assert len(checkpoints(run)) == len(checkpoints(whole)), f"{checkpoints(run)}, expected {checkpoints(whole)}"
    assert_whole(run)


def assert_whole(run: Path) -> None:
    """Every checkpoint that is there is whole, and nothing is half written."""
    found = {name: store.verify(run / "checkpoints" / name) for name in checkpoints(run)}
    assert not any(found.values()), found


def last(run: Path) -> dict:
    return json.loads((run / "checkpoints" / "last.json").read_text())


def command_line(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`python -m liandan ...`, a process of its own; what it says is in output.txt."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(folder / "output.txt", "w", encoding="utf-8") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "liandan", *arguments], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])
