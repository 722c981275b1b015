"""Wrong names and values in a recipe's open ends: all found before anything is read, each with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from liandan.engine.session import check
from liandan.recipe import RecipeError, load_recipe

RECIPE = """\
version: 1
task: image_classification
data:
  train: nowhere/
  transforms:
    train: [{name: resise, size: 8}, to_float]
    eval:
      - {name: resize, sise: 8}
model: {name: liandan/lenet, width: 2}
loss: {name: cross_entropy, smoothing: 0.1}
optimizer:
  name: sgd
  momentun: 0.9
schedule: {name: cosin}
evaluate:
  metrics: [f1, acuracy]
  best: {metric: val/f2, mode: max}
"""


def faults(tmp_path: Path, text: str) -> dict[str, tuple[str, str]]:
    """{key: (where, everything that is said)}."""
    (tmp_path / "石头.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        check(load_recipe(tmp_path / "石头.yaml"))
    return {fault.key: (fault.where, f"{fault.expected} {fault.hint}") for fault in caught.value.faults}


def test_every_fault_at_once_with_its_line_and_the_nearest_name(tmp_path: Path) -> None:
    found = faults(tmp_path, RECIPE)
    expected = {
        "data.transforms.train[0].name": (6, "resize"),
        "data.transforms.eval[0].sise": (8, "size"),
        "model.name": (9, "liandan/lenet5"),
        "loss.smoothing": (10, "label_smoothing"),
        "optimizer.momentun": (13, "momentum"),
        "schedule.name": (14, "cosine"),
        "evaluate.metrics[1]": (16, "accuracy"),
        "evaluate.best.metric": (17, "val/f1"),
    }
    for key, (line, near) in expected.items():
        candidates = [value for name, value in found.items() if name == key]
        assert candidates, (key, sorted(found))
        where, said = candidates[0]
        assert where == f"石头.yaml:{line}" and near in said, (key, where, said)


HEAD = "version: 1\ntask: image_classification\ndata: {train: nowhere/}\n"


def test_an_unknown_task(tmp_path: Path) -> None:
    where, said = faults(tmp_path, HEAD.replace("image_classification", "image_clasification") + "model: {name: liandan/lenet5}\n")["task"]
    assert where == "石头.yaml:2" and '"image_classification"' in said


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("optimizer: {name: sgd, lr: -1}", "optimizer"),
        ("optimizer: {name: sgd, lr: high}", "optimizer"),
        ("optimizer: {name: adamw, betas: [2, 3]}", "optimizer"),
        ("optimizer: {name: adamw, betas: 3}", "optimizer"),
        ("schedule: {name: cosine, min_lr: x}", "schedule"),
        ("schedule: {name: plateau, patience: -1}", "schedule"),
        ("loss: {name: cross_entropy, label_smoothing: 5}", "loss"),
        ("loss: {name: cross_entropy, label_smoothing: much}", "loss"),
        ("loss: {name: cross_entropy, class_weights: heavy}", "loss"),
        ("loss: {name: cross_entropy, class_weights: [1, -1]}", "loss"),
        ("loss: {name: focal, gamma: -1}", "loss"),
        ("schedule: {name: step, milestones: x}", "schedule"),
    ],
)
def test_values_that_the_thing_itself_refuses(tmp_path: Path, section: str, key: str) -> None:
    where, said = faults(tmp_path, HEAD + "model: {name: liandan/lenet5}\n" + section + "\n")[key]
    assert where == "石头.yaml:5" and "arguments that" in said


def test_the_line_is_that_of_the_argument_which_is_wrong(tmp_path: Path) -> None:
    text = HEAD + "model: {name: liandan/lenet5}\nloss:\n  name: cross_entropy\n  class_weights: balanced\n  label_smoothing: 5\n"
    where, _ = faults(tmp_path, text)["loss"]
    assert where == "石头.yaml:8"


def test_a_plateau_needs_something_to_judge(tmp_path: Path) -> None:
    text = HEAD.replace("train: nowhere/", "train: nowhere/, val: null") + "model: {name: liandan/lenet5}\nschedule: {name: plateau}\n"
    where, said = faults(tmp_path, text)["schedule.name"]
    assert where == "石头.yaml:5" and "data.val is null" in said
