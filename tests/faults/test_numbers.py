"""Losses that are not finite (R8) and memory that runs out (R9), at the command line. Law 4 has every task."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.faults.runs import assert_whole, checkpoints, words
from tests.journeys import evaluation, rows, tensors
from tests.zygote import Child, Zygote

# the first step throws the weights to 1e18; the second one's loss overflows
DIVERGING = ["optimizer={name: sgd, lr: 1e20}", "train.ema=null"]


def progress(run: Path, step: int) -> dict:
    return json.loads((run / "checkpoints" / f"step-{step:08d}" / "state.json").read_text())["progress"]


def test_by_default_the_run_stops_and_keeps_nothing_of_the_bad_step(zygote: Zygote, tmp_path: Path) -> None:
    child = zygote.run(*words("run", *DIVERGING), cwd=tmp_path)
    assert child.wait() == 1, child.text()
    told, run = child.text().splitlines()[-1], tmp_path / "run"
    assert told.startswith("step 2, turn 0: the loss or its gradient is not finite") and "nothing of it was learned" in told
    found = json.loads((run / "non_finite.json").read_text())
    assert found["step"] == 2 and len(found["samples"]) == 64 and found["samples"][0] in told
    assert not checkpoints(run)
    child = zygote.run(*words("run", *DIVERGING, "optimizer.lr=0.01"), "--resume", cwd=tmp_path)
    assert child.wait() == 0, child.text()
    assert rows(run)[-1]["train/loss"] < 3


def test_skipping_counts_each_step_and_does_the_same_twice(zygote: Zygote, tmp_path: Path) -> None:
    for name in ("a", "b"):
        child = zygote.run(*words(name, *DIVERGING, "train.non_finite=skip"), cwd=tmp_path)
        assert child.wait() == 0, child.text()
        assert child.text().count("; skipped, ") == progress(tmp_path / name, 12)["skipped"] == 11
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    ends = [tensors(tmp_path / name) for name in ("a", "b")]
    assert all(np.array_equal(ends[0][key], ends[1][key]) and np.isfinite(ends[0][key]).all() for key in ends[0])
    assert_whole(tmp_path / "a")


def test_a_metric_that_is_no_number_is_written_and_never_the_best(zygote: Zygote, tmp_path: Path) -> None:
    best = "evaluate.best={metric: val/loss, mode: min}"
    child = zygote.run(*words("run", *DIVERGING, "train.non_finite=skip", best), cwd=tmp_path)
    assert child.wait() == 0, child.text()
    run = tmp_path / "run"
    assert [row["val/loss"] for row in rows(run) if "val/loss" in row] == ["NaN", "NaN"]
    assert evaluation(run)["loss"] == "NaN"
    assert progress(run, 12)["best"] is None and not (run / "checkpoints" / "best.json").exists()
    child = zygote.run("evaluate", "run", "--json", cwd=tmp_path)
    assert child.wait() == 0 and json.loads(child.text())["val/loss"] is None, child.text()


# --- R9 ----------------------------------------------------------------------------------------------------------------------------

STEPS = "[{name: resize, size: [128, 128]}, to_float, {name: normalize, mean: [0.5], std: [0.5]}]"
# neither dropout nor BatchNorm: by law 1 the size of a micro-batch then changes rounding alone
LARGE = [f"data.transforms={{train: {STEPS}, eval: {STEPS}}}", "data.val=null", "model={width: 2, norm: false, dropout: 0}",
         "train={duration: {steps: 3}, batch_size: 128, threads: 1, ema: null}"]  # fmt: skip
MEGABYTE = 1 << 20


def within(zygote: Zygote, folder: Path, megabytes: int, run: str, *overrides: str) -> Child:
    """A run that may have so much memory beyond what it was born with. 128 samples at once take about 450 MB, 16 about 150."""
    limit = {"ADDRESS_SPACE": str(megabytes * MEGABYTE)}
    child = zygote.run(*words(run, *LARGE, *overrides), cwd=folder, before=["tests.faults.limits:address_space"], env=limit)
    child.wait()
    return child


def test_out_of_memory_halves_the_micro_batch_and_not_the_batch(zygote: Zygote, tmp_path: Path) -> None:
    child = within(zygote, tmp_path, 300, "short", "train.micro_batch_size=128")
    assert child.wait() == 0, child.text()
    assert "out of memory: micro-batches of at most 64 samples from step 1 on, the batch a step stays" in child.text()
    limit = progress(tmp_path / "short", 3)["limit"]
    assert limit in (8, 16, 32, 64)
    child = zygote.run(*words("small", *LARGE, f"train.micro_batch_size={limit}"), cwd=tmp_path)
    assert child.wait() == 0, child.text()
    short, small = rows(tmp_path / "short"), rows(tmp_path / "small")
    assert len(short) == 3
    for a, b in zip(short, small, strict=True):
        assert a["train/loss"] == pytest.approx(b["train/loss"], rel=1e-5)
        assert a["train/gradient_norm"] == pytest.approx(b["train/gradient_norm"], rel=1e-4)
    # what was found out is kept: a resume does not run into it again
    child = within(zygote, tmp_path, 300, "short", "train.micro_batch_size=128", "train.duration.steps=4", "--resume")
    assert child.wait() == 0 and "out of memory" not in child.text(), child.text()


def test_when_no_sample_fits_it_says_so(zygote: Zygote, tmp_path: Path) -> None:
    child = within(zygote, tmp_path, 60, "run", "train.micro_batch_size=128")
    assert child.wait() == 1, child.text()
    # after halving down to one sample, or, where memory ran out beside a turn, at once: clear words either way
    assert child.text().splitlines()[-1].startswith("out of memory") and "Traceback" not in child.text(), child.text()


def test_a_batch_coupled_by_batchnorm_is_halved_with_a_warning(zygote: Zygote, tmp_path: Path) -> None:
    child = within(zygote, tmp_path, 300, "run", "train.micro_batch_size=128", "model.norm=true", "train.duration.steps=1")
    assert child.wait() == 0, child.text()
    assert "BatchNorm now normalizes over fewer samples" in child.text()


def test_memory_that_runs_out_elsewhere_is_said_without_a_traceback(zygote: Zygote, tmp_path: Path) -> None:
    child = zygote.run(*words("run", *LARGE, "data.val={hold_out: 0.5}", "train.micro_batch_size=16"), cwd=tmp_path)
    assert child.wait() == 0, child.text()
    # some 900 images at once, in a pass without gradients
    values = ["evaluate", "run", "--batch-size", "1024"]
    child = zygote.run(*values, cwd=tmp_path, before=["tests.faults.limits:address_space"], env={"ADDRESS_SPACE": str(100 * MEGABYTE)})
    assert child.wait() == 1, child.text()
    assert child.text().splitlines()[-1].startswith("out of memory: ") and "Traceback" not in child.text(), child.text()
