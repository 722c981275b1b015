"""Law 4: nothing non-finite is learned, and no checkpoint ever holds it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from liandan.tasks import TASKS
from tests.journeys import ONE_THREAD, TINY, rows
from tests.zygote import Child, Zygote

# the first step throws the weights so far that the second one's loss or gradient overflows
DIVERGING = [
    "optimizer={name: sgd, lr: 1e38}",
    "train.clip_norm=null",
    "train.ema=null",
    "schedule={name: constant}",
    "train.duration.steps=8",
    "evaluate.every.steps=8",
    "checkpoint={every: {steps: 1}, keep: 99}",
    "data.workers=0",
    *ONE_THREAD,
]


def diverge(zygote: Zygote, task: str, folder: Path, *overrides: str, mutant: str | None = None) -> Child:
    before = [f"tests.mutants:{mutant}"] if mutant else []
    return zygote.run("train", TINY[task], *DIVERGING, *overrides, "run.dir=run", cwd=folder, before=before)


def poisoned(run: Path) -> list[str]:
    """Checkpoints that hold a value that is not finite."""
    files = (run / "checkpoints").glob("step-*/*.safetensors")
    return sorted(
        {str(f) for f in files for v in load_file(f).values() if np.issubdtype(v.dtype, np.floating) and not np.isfinite(v).all()}
    )


@pytest.mark.parametrize("task", TASKS)
def test_a_diverging_run_stops_and_names_the_samples(zygote: Zygote, task: str, tmp_path: Path) -> None:
    child = diverge(zygote, task, tmp_path)
    assert child.wait() == 1, child.text()
    assert "not finite" in child.text() and "samples: " in child.text() and "optimizer.lr" in child.text()
    assert not poisoned(tmp_path / "run")
    told = json.loads((tmp_path / "run" / "non_finite.json").read_text())
    assert told["samples"] and told["step"] >= 1


@pytest.mark.parametrize("task", TASKS)
def test_skipping_counts_exactly_and_twice_the_same(zygote: Zygote, task: str, tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        child = diverge(zygote, task, tmp_path / name, "train.non_finite=skip", "data.val=null")
        assert child.wait() == 0, child.text()
        state = json.loads((tmp_path / name / "run" / "checkpoints" / "step-00000008" / "state.json").read_text())
        skipped = state["progress"]["skipped"]
        assert skipped == child.text().count("; skipped, ") >= 1
        assert not poisoned(tmp_path / name / "run")
        found.append((skipped, rows(tmp_path / name / "run")))
    assert found[0] == found[1]


@pytest.mark.parametrize("task", TASKS)
def test_an_unchecked_step_is_caught(zygote: Zygote, task: str, tmp_path: Path) -> None:
    diverge(zygote, task, tmp_path, "data.val=null", mutant="unchecked").wait()
    assert poisoned(tmp_path / "run")
