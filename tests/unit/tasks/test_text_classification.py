"""Reviews as a person has them: recognized, learned, predicted."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from liandan import api, tasks
from liandan.recipe import RecipeError, make_recipe

WORDS = {"好评": ("很好", "喜欢", "推荐", "满意"), "差评": ("太差", "失望", "退货", "难看")}


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("数据") / "评论.csv"
    with file.open("w", encoding="utf-8-sig", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["text", "label"])
        pairs = [(f"{a}，{b}", label) for label, words in WORDS.items() for a in words for b in words]
        writer.writerows([text + "。" * i, label] for text, label in pairs for i in range(3))
    return file


def test_plain_data_makes_a_recipe(reviews: Path) -> None:
    found = tasks.recognize(reviews, lambda name: False)
    assert found is not None and found["task"] == "text_classification" and found["model"]["name"] == "liandan/text_encoder"
    tuned = tasks.recognize(reviews, lambda name: False, "hf/encoder")
    assert tuned is not None and tuned["model"] == {"name": "hf/encoder", "weights": "pretrained"}
    for values in (found, tuned):
        assert make_recipe(values, {}).train.batch_size <= 24


def test_it_learns_what_words_say_and_tells_it(reviews: Path, tmp_path: Path) -> None:
    changes = {
        "run.dir": str(tmp_path / "run"), "train.threads": 1, "train.duration.epochs": 8, "evaluate.every.epochs": 8,
        "data.text.vocab_size": 300, "data.text.context": 32,
    }  # fmt: skip
    run = api.train(str(reviews), [f"{key}={value}" for key, value in changes.items()])
    assert run.metrics[-1]["val/accuracy"] == 1
    first, empty, second = run.predict(["推荐，满意", "  ", "难看，" * 60])
    assert (first["label"], second["label"]) == ("好评", "差评") and first["confidence"] > 0.5
    assert "nothing to read" in empty["error"]
    folder = tmp_path / "run" / "evaluation" / "val"
    assert (folder / "confusion.png").exists() and "评论.csv:" in (folder / "predictions.csv").read_text(encoding="utf-8")
    other = tmp_path / "other.jsonl"
    other.write_text('{"text": "很好", "label": "好评"}\n{"text": "太差", "label": "差评"}\n', encoding="utf-8")
    assert run.evaluate(str(other))["other/accuracy"] == 1


def test_it_is_judged_and_weighed_as_images_are(reviews: Path, tmp_path: Path) -> None:
    changes = {
        "run.dir": str(tmp_path / "run"), "train.threads": 1, "train.duration": "{steps: 4}", "evaluate.every": "{steps: 4}",
        "checkpoint.every": "{steps: 4}", "data.text.vocab_size": 300, "data.text.context": 32, "schedule": "{name: constant}",
        "loss": "{name: focal, class_weights: balanced}", "data.sampling": "{name: balanced}",
        "evaluate.metrics": "[loss, auc, 'f1:好评']",
    }  # fmt: skip
    run = api.train(str(reviews), [f"{key}={value}" for key, value in changes.items()])
    assert {"val/loss", "val/auc", "val/f1:好评"} <= set(run.metrics[-1])


@pytest.mark.parametrize(
    ("change", "key"), [("loss={name: distillation, teacher: run:other}", "loss.name"), ("evaluate.tta=[hflip]", "evaluate.tta")]
)
def test_what_needs_images_is_refused(reviews: Path, tmp_path: Path, change: str, key: str) -> None:
    with pytest.raises(RecipeError, match=key):
        api.train(str(reviews), [change, f"run.dir={tmp_path / 'run'}"])
