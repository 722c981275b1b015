"""What does not fit together is said before training, not by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from liandan.data.errors import DataError
from liandan.recipe import RecipeError, load_recipe
from liandan.runtime.assemble import assemble, data_differences, read_splits
from liandan.runtime.device import Device
from tests.journeys import TINY


def test_a_head_too_small_for_the_classes() -> None:
    with pytest.raises(RecipeError, match=r"(?s)model\.num_classes.*at least 10.*received +3"):
        assemble(load_recipe(TINY["image_classification"], ["model.num_classes=3"]), Device())
    larger = assemble(load_recipe(TINY["image_classification"], ["model.num_classes=12", "data.workers=0"]), Device())
    assert larger.model.get_parameter("head.weight").shape[0] == 12


@pytest.mark.parametrize(
    ("task", "expected"), [("image_classification", "expected images, found text"), ("language_model", "expected text")]
)
def test_data_of_another_kind(task: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "诗.txt").write_text("床前明月光\n" * 200, encoding="utf-8")
    data = f"data.train={tmp_path / '诗.txt'}" if task == "image_classification" else "data.train=source:digits"
    with pytest.raises(DataError, match=expected):
        assemble(load_recipe(TINY[task], [data]), Device())


def test_samples_without_classes_cannot_be_sampled_by_them() -> None:
    with pytest.raises(RecipeError, match=r"(?s)data\.sampling.*training samples with classes.*text without them"):
        assemble(load_recipe(TINY["language_model"], ["data.sampling={name: balanced}"]), Device())


def test_repeated_samples_make_an_epoch_longer() -> None:
    words = ["data.sampling={name: repeat, threshold: 0.5}", "train.batch_size=64", "data.workers=0"]
    made = assemble(load_recipe(TINY["image_classification"], words), Device())
    # ten classes of about a tenth each: sqrt(0.5 / 0.1) is 2.2, so each sample comes three times
    assert made.loader.epoch == 3 * len(made.train) and made.plan.steps_per_epoch == -(-3 * len(made.train) // 64)


def test_the_same_data_does_not_differ_and_another_seed_holds_out_others() -> None:
    recipe = load_recipe(TINY["image_classification"], [])
    was = read_splits(recipe).facts
    assert data_differences(was, read_splits(recipe).facts) == []
    assert data_differences(was, read_splits(recipe.with_values({"seed": 1})).facts) == ["other samples are held out for validation"]
