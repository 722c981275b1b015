"""Which checkpoint is best, when a run stops early, and what several processes and `resume` make of both."""

from __future__ import annotations

import json
from pathlib import Path

from tests.journeys import ONE_THREAD, TINY, rows
from tests.zygote import Zygote

IMAGES = TINY["image_classification"]
STILL = ["optimizer={name: sgd, lr: 0.0}", "schedule={name: constant}", "model.norm=false", "train.ema=null", "data.workers=0", *ONE_THREAD]


def pointer(run: Path, which: str) -> dict:
    return json.loads((run / "checkpoints" / f"{which}.json").read_text())


def test_a_run_that_does_not_improve_stops_early(zygote: Zygote, tmp_path: Path) -> None:
    words = ["train", IMAGES, *STILL, "evaluate.every.steps=3", "evaluate.stop_after=2", "run.dir=run", "--json", "--quiet"]
    child = zygote.run(*words, cwd=tmp_path)
    assert child.wait() == 0, child.text()
    told = json.loads(child.text()[child.text().index("{") :])
    # weights that do not move are best at the first evaluation; two no better ones follow
    assert (told["reason"], told["step"], told["best_step"]) == ("stopped early", 9, 3)
    assert pointer(tmp_path / "run", "last")["finished"] is True


def test_the_best_checkpoint_is_the_recipes_own_metric(zygote: Zygote, tmp_path: Path) -> None:
    words = ["train", IMAGES, "train.duration.steps=20", "evaluate.every.steps=4", "data.workers=0", *ONE_THREAD, "--quiet", "--json"]
    for metric, mode in (("val/loss", "min"), ("val/loss", "max"), ("val/recall", "max")):
        name = f"{metric.replace('/', '-')}-{mode}"
        child = zygote.run(*words, f"evaluate.best={{metric: {metric}, mode: {mode}}}", f"run.dir={name}", cwd=tmp_path)
        assert child.wait() == 0, child.text()
        judged = {row["step"]: row[metric] for row in rows(tmp_path / name) if metric in row}
        best = (min if mode == "min" else max)(judged.values())
        found = pointer(tmp_path / name, "best")
        assert found["value"] == best == judged[found["step"]]
        assert found["step"] == min(step for step, value in judged.items() if value == best), "the first of equals"
        assert (tmp_path / name / "checkpoints" / found["checkpoint"] / "MANIFEST.json").exists(), "the best is never pruned"


def test_a_finished_run_is_extended_by_a_longer_duration(zygote: Zygote, tmp_path: Path) -> None:
    words = ["train", IMAGES, "schedule={name: constant}", "data.workers=0", "evaluate.every.steps=4", *ONE_THREAD, "--quiet"]
    assert zygote.run(*words, "train.duration.steps=8", "run.dir=two", cwd=tmp_path).wait() == 0
    assert zygote.run(*words, "train.duration.steps=12", "run.dir=two", "--resume", cwd=tmp_path).wait() == 0
    assert zygote.run(*words, "train.duration.steps=12", "run.dir=one", cwd=tmp_path).wait() == 0
    assert rows(tmp_path / "one") == rows(tmp_path / "two")


def test_accumulation_with_fp16_and_bf16_learns(zygote: Zygote, tmp_path: Path) -> None:
    for precision in ("bf16", "fp16"):
        words = ["train", IMAGES, f"train.precision={precision}", "train.duration.steps=24", f"run.dir={precision}", "--quiet", *ONE_THREAD]
        child = zygote.run(*words, "data.workers=0", cwd=tmp_path)
        assert child.wait() == 0, child.text()
        losses = [row["train/loss"] for row in rows(tmp_path / precision) if "train/loss" in row]
        assert losses[-1] < 0.8 * losses[0], losses
