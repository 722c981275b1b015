"""Where a run begins: another run's weights, a file's, none on this machine; and which of them stay as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.journeys import ONE_THREAD, TINY, final, rows, weights
from tests.zygote import Zygote

IMAGES = ["train", TINY["image_classification"], "data.workers=0", "train.ema=null", "schedule={name: constant}", "--quiet", *ONE_THREAD]
STILL = ["optimizer={name: sgd, lr: 0.0}", "train.duration.steps=1", "evaluate.every.steps=1"]


def taught(zygote: Zygote, folder: Path) -> Path:
    child = zygote.run(*IMAGES, "train.duration.steps=12", "evaluate.every.steps=12", "run.dir=first", cwd=folder)
    assert child.wait() == 0, child.text()
    return folder / "first"


def test_a_run_begins_with_anothers_weights(zygote: Zygote, tmp_path: Path) -> None:
    first = weights(taught(zygote, tmp_path))
    file = str(final(tmp_path / "first") / "model.safetensors")
    for name, source in (("by_run", "run:first"), ("by_file", file)):
        child = zygote.run(*IMAGES, *STILL, f"model.weights={source}", f"run.dir={name}", cwd=tmp_path)
        assert child.wait() == 0, child.text()
        found = weights(tmp_path / name)
        learned = [k for k in found if "running" not in k and "tracked" not in k]  # a step moves BatchNorm's statistics at any lr
        assert all(np.array_equal(found[k], first[k]) for k in learned)


def test_weights_that_are_not_there_are_told(zygote: Zygote, tmp_path: Path) -> None:
    for source, said in (("nowhere.safetensors", "nowhere.safetensors"), ("run:nothing", "nothing"), ("pretrained", "has none")):
        child = zygote.run(*IMAGES, *STILL, f"model.weights={source}", "run.dir=run", cwd=tmp_path)
        assert child.wait() == 2 and said in child.text() and "Traceback" not in child.text(), child.text()
    words = ["data.train=source:digits", "model={name: timm/resnet18, weights: pretrained}", "data.transforms={train: auto, eval: auto}"]
    child = zygote.run(*IMAGES, *STILL, *words, "run.dir=run", cwd=tmp_path, env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")})
    assert child.wait() == 1 and "HF_ENDPOINT" in child.text() and "model.safetensors" in child.text(), child.text()


def test_what_is_frozen_does_not_move(zygote: Zygote, tmp_path: Path) -> None:
    """Neither weights nor running statistics of the frozen part, with weight decay and momentum at work."""
    taught(zygote, tmp_path)
    words = ["model.weights=run:first", "model.freeze=[features]", "train.duration.steps=6", "evaluate.every.steps=6"]
    child = zygote.run(*IMAGES, *words, "run.dir=second", cwd=tmp_path)
    assert child.wait() == 0, child.text()
    before, after = weights(tmp_path / "first"), weights(tmp_path / "second")
    frozen = [k for k in before if k.startswith("features.")]
    assert frozen and all(np.array_equal(before[k], after[k]) for k in frozen)
    assert any(not np.array_equal(before[k], after[k]) for k in before if k not in frozen)
    assert rows(tmp_path / "second")
