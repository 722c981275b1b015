"""An adapter's run: its checkpoints hold what was trained, its base/ holds what was not, and nothing else is needed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.faults.runs import assert_same_run
from tests.journeys import ONE_THREAD, TINY, evaluation, final, weights
from tests.zygote import Zygote

pytest.importorskip("peft")
SHORT = ["train.duration.steps=12", "evaluate.every.steps=6", "checkpoint.every.steps=4", *ONE_THREAD]
LORA = ["model.adapter={name: lora, rank: 4, dropout: 0.1}", "model.weights=run:first", "train.ema=null"]


def words(run: str, *overrides: str) -> list[str]:
    return ["train", TINY["sft"], *SHORT, f"run.dir={run}", *overrides]


def test_an_adapter_is_killed_resumed_moved_and_judged_alone(zygote: Zygote, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for run, overrides in (("runs/first", []), ("whole", LORA)):
        child = zygote.run(*words(run, *overrides), cwd=tmp_path)
        assert child.wait() == 0, child.text()
    child = zygote.run(*words("killed", *LORA), cwd=tmp_path, before=["tests.faults.moments:die_at_step"], env={"MOMENT": "9"})
    assert child.wait() == -9, child.text()
    shutil.rmtree(tmp_path / "runs" / "first")  # what it began from is in its own base/
    child = zygote.run(*words("killed", *LORA), "--resume", cwd=tmp_path)
    assert child.wait() == 0, child.text()
    assert_same_run(tmp_path / "whole", tmp_path / "killed")

    kept = weights(tmp_path / "killed")
    assert kept and all(".lora_" in name for name in kept), list(kept)[:3]
    size = (final(tmp_path / "killed") / "model.safetensors").stat().st_size
    assert size < sum(f.stat().st_size for f in (tmp_path / "killed" / "base").iterdir())

    moved = tmp_path / "elsewhere" / "搬走"
    moved.parent.mkdir()
    (tmp_path / "killed").rename(moved)
    shutil.rmtree(tmp_path / "whole")
    told = evaluation(moved)
    child = zygote.run("evaluate", str(moved), "--json", cwd=tmp_path / "elsewhere")
    assert child.wait() == 0, child.text()
    found = json.loads(child.text()[child.text().index("{") :])
    assert found["val/loss"] == told["loss"]
