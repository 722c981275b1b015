"""Fine-tuning is worth its time: no worse than scikit-learn's logistic regression on the same network's frozen features."""

from pathlib import Path

import pytest

from bench.linear_probe import frozen_features, probed
from liandan import api, sources
from tests.zygote import Zygote

FOLDERS = ("animals", "food", "town")
EACH = 40
SIDE = 112  # pixels: a quarter of the work of the model's own 224


@pytest.fixture(scope="module")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same number of photographs of each of three kinds, spread evenly over the folder of each."""
    there, made = sources.get("tuxpaint-stamps"), tmp_path_factory.mktemp("照 片")
    for name in FOLDERS:
        files = sorted((there / name).rglob("*.png"))
        (made / name).mkdir()
        for k in range(EACH):
            file = files[k * len(files) // EACH]
            (made / name / f"{k} {file.name}").write_bytes(file.read_bytes())
    return made


@pytest.mark.slow
def test_the_shipped_recipe_is_no_worse_than_a_linear_probe(zygote: Zygote, stamps: Path, tmp_path: Path) -> None:
    weights = next(sources.get("efficientnet-lite0").rglob("*.pth"))
    steps = [{"name": "resize", "size": SIDE}, {"name": "center_crop", "size": [SIDE, SIDE]}]
    crop = [{"name": "random_resized_crop", "size": [SIDE, SIDE], "scale": [0.35, 1.0]}, {"name": "random_horizontal_flip"}]
    words = [
        f"data.train={stamps}", f"model.weights={weights}", f"data.transforms={{train: {crop}, eval: {steps}}}", "data.workers=0",
        "train.threads=1", "train.duration.epochs=6", "evaluate.every.epochs=6", f"run.dir={tmp_path / 'run'}", "--quiet",
    ]  # fmt: skip
    child = zygote.run("train", "image_classification/finetune", *words, cwd=tmp_path)
    assert child.wait() == 0, child.text()
    run = api.open_run(tmp_path / "run")
    features = frozen_features(run, weights)
    assert len(features["train"][1]) == 3 * EACH * 4 // 5 and len(features["val"][1]) == 3 * EACH // 5
    ours, probe = run.metrics[-1]["val/accuracy"], probed(features)
    assert probe > 0.6, "the features say little of these classes: the comparison could not fail"
    assert ours >= probe, f"fine-tuned {ours:.1%}, linear probe {probe:.1%}, chance {1 / len(FOLDERS):.1%}"
