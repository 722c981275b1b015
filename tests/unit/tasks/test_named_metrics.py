"""The names of metrics: what is one, what is none, and what a recipe is told."""

from __future__ import annotations

import pytest

from liandan.recipe import RecipeError, make_recipe
from liandan.runtime.assemble import check
from liandan.tasks.named_metrics import KNOWN, Metric, expand, faults, notices, parse


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("accuracy", Metric("accuracy", "accuracy")),
        ("top5", Metric("top5", "top", k=5)),
        ("top1@0.5", Metric("top1@0.5", "top", k=1, threshold=0.5)),
        ("precision@.3", Metric("precision@.3", "precision", threshold=0.3)),
        ("f1_weighted@0.25", Metric("f1_weighted@0.25", "f1", average="weighted", threshold=0.25)),
        ("average_precision_micro", Metric("average_precision_micro", "average_precision", average="micro")),
        ("recall:猫 和 狗", Metric("recall:猫 和 狗", "recall", label="猫 和 狗")),
        ("recall:a@b", Metric("recall:a@b", "recall", label="a@b")),
        ("recall:a@b@0.5", Metric("recall:a@b@0.5", "recall", label="a@b", threshold=0.5)),
        ("support:a_macro", Metric("support:a_macro", "support", label="a_macro")),
        *((name, None) for name in ("", "acuracy", "top0", "top", "f1_median", "accuracy_macro", "loss@0.5", "ece:a")),
        *((name, None) for name in ("f1_macro:a", "auc@0.3", "f1@1.5", "f1@", "f1:", "precision@-1", "top5:a")),
        *((name, None) for name in ("support_macro", " f1", "f1\n")),
    ],
)
def test_a_name_is_read_whole_or_not_at_all(name: str, expected: Metric | None) -> None:
    assert parse(name) == expected


def test_the_names_that_faults_list_are_names() -> None:
    assert all(parse(name) for name in KNOWN)


def test_none_is_a_metric_of_each_class() -> None:
    found = expand(["accuracy", "f1_none", "recall_none@0.3", "f1:b"], ["a", "b"])
    assert found == ["accuracy", "f1:a", "f1:b", "recall:a@0.3", "recall:b@0.3"]


def test_what_these_classes_cannot_give_is_said() -> None:
    assert faults(["f1:c", "auc"], ["a", "b"]) == ['f1:c: there is no class "c" in the data']
    told = ["top5 of 3 classes is clipped to top3: every answer reaches it", "top3: every answer reaches it"]
    assert notices(["top5", "top1", "top2", "top3"], ["a", "b", "c"]) == told


def recipe(**evaluate: object) -> list[str]:
    """Faults of a recipe with such an evaluate section."""
    values = {
        "version": 1, "task": "image_classification", "data": {"train": "source:digits"}, "model": {"name": "liandan/lenet5"},
        "evaluate": evaluate,
    }  # fmt: skip
    try:
        return [f"{fault.key}: {fault.expected} | {fault.hint}" for fault in check(make_recipe(values))]
    except RecipeError as error:
        return [fault.key for fault in error.faults]


def test_a_recipe_is_told_of_names_that_are_none() -> None:
    assert recipe(metrics=["accuracy", "precision@0.3", "recall:3", "f1_none"]) == []
    (fault,) = recipe(metrics=["accuracy", "f1_wieghted"])
    assert fault.startswith("evaluate.metrics[1]: ") and 'did you mean "f1_weighted"?' in fault and "precision@0.3" in fault
    (fault,) = recipe(best={"metric": "val/acuracy", "mode": "max"})
    assert fault.startswith("evaluate.best.metric: ") and 'did you mean "val/accuracy"?' in fault
    (fault,) = recipe(best={"metric": "accuracy", "mode": "max"})
    assert 'did you mean "val/accuracy"?' in fault
    assert recipe(best={"metric": "val/recall:3@0.5", "mode": "max"}) == []
    (fault,) = recipe(tta=["hflop"])
    assert fault.startswith("evaluate.tta[0]: one of: hflip, vflip") and 'did you mean "hflip"?' in fault
