"""Law 3: what training printed is what `evaluate` prints; nothing of a split is dropped, repeated or augmented."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from liandan.tasks import TASKS
from tests.journeys import ONE_THREAD, TINY, rows
from tests.zygote import Zygote

SHORT = ["train.duration.steps=8", "evaluate.every.steps=4", "checkpoint.every.steps=4", *ONE_THREAD]


def numbers(zygote: Zygote, task: str, folder: Path, mutant: str | None = None, batch_size: int | None = None) -> tuple[dict, dict, dict]:
    """(what training wrote at its best step, what `evaluate` prints, metrics.json)."""
    before = [f"tests.mutants:{mutant}"] if mutant else []
    child = zygote.run("train", TINY[task], *SHORT, "run.dir=run", "--quiet", cwd=folder, before=before)
    assert child.wait() == 0, child.text()
    options = ["--batch-size", str(batch_size), "--answers", "0"] if batch_size else []
    child = zygote.run("evaluate", "run", "--json", *options, cwd=folder, before=before)
    assert child.wait() == 0, child.text()
    printed = json.loads(child.text()[child.text().index("{") :])
    best = json.loads((folder / "run" / "checkpoints" / "best.json").read_text())
    trained = next(row for row in rows(folder / "run") if row["step"] == best["step"])
    kept = json.loads((folder / "run" / "evaluation" / "val" / "metrics.json").read_text())
    return {k: v for k, v in trained.items() if k.startswith("val/")}, {k: v for k, v in printed.items() if k.startswith("val/")}, kept


def held_out(folder: Path) -> int:
    """Samples of the validation split, counted from the data and not by the loop under test."""
    return json.loads((folder / "run" / "data.json").read_text())["samples"]["val"]


@pytest.mark.parametrize("task", TASKS)
def test_evaluate_prints_what_training_printed(zygote: Zygote, task: str, tmp_path: Path) -> None:
    trained, printed, kept = numbers(zygote, task, tmp_path)
    assert trained and trained == {key: printed[key] for key in trained}  # what a run writes is judged beside them
    assert all(math.isfinite(value) for value in printed.values())
    assert kept["samples"] == held_out(tmp_path)


@pytest.mark.parametrize("task", TASKS)
def test_the_batch_size_changes_nothing(zygote: Zygote, task: str, tmp_path: Path) -> None:
    trained, printed, _ = numbers(zygote, task, tmp_path, batch_size=7)
    for key, value in trained.items():
        assert printed[key] == pytest.approx(value, rel=1e-6), key


@pytest.mark.parametrize("task", TASKS)
def test_a_dropped_tail_is_caught(zygote: Zygote, task: str, tmp_path: Path) -> None:
    _, _, kept = numbers(zygote, task, tmp_path, mutant="drop_partial_batch", batch_size=7)
    assert kept["samples"] != held_out(tmp_path)


@pytest.mark.parametrize("task", ["image_classification", "gan"])  # text has nothing to augment
def test_augmented_validation_is_caught(zygote: Zygote, task: str, tmp_path: Path) -> None:
    trained, printed, _ = numbers(zygote, task, tmp_path, mutant="noisy_validation")
    assert trained != printed
