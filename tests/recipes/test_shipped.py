"""Every shipped recipe is well-formed and runs; every task has a tiny one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from liandan.recipe import load_recipe, shipped
from liandan.tasks import TASKS
from tests.journeys import ONE_THREAD
from tests.zygote import Zygote

BRIEF = ["train.duration.steps=2", "evaluate.every.steps=2", "checkpoint.every.steps=2", "schedule={name: constant}", *ONE_THREAD]
# what keeps a large data set or network short
FEW = ["train.batch_size=4", "data.test=null", "data.val={hold_out: 0.0002}"]
FRESH = ["model.weights=none", "train.batch_size=2", "data.val={hold_out: 0.01}", "optimizer={name: sgd, lr: 0.01}"]
SMALL = {
    "language_model/poems": ["data.train.limit=2000"],
    "text_classification/reviews": ["data.train.limit=500"],
    **{f"image_classification/{n}": FEW for n in ("softmax_regression", "mlp", "mlp_dropout", "lenet", "lenet_cosine", "bn_lenet")},
    **{f"image_classification/{n}": FEW for n in ("alexnet", "vgg", "nin", "googlenet", "resnet18", "densenet")},
    **{f"image_classification/{n}": FRESH for n in ("finetune", "convnext", "vit", "swin", "mobilenetv3", "efficientnetv2")},
}


def test_every_task_has_a_tiny_recipe() -> None:
    assert {f"{task}/tiny" for task in TASKS} <= set(shipped())


@pytest.mark.parametrize("name", shipped())
def test_it_lies_under_its_task(name: str) -> None:
    assert load_recipe(name).task == name.partition("/")[0]


@pytest.mark.parametrize("name", shipped())
def test_it_has_no_fault(zygote: Zygote, name: str, tmp_path: Path) -> None:
    child = zygote.run("recipe", "check", name, "--json", cwd=tmp_path)
    assert child.wait() == 0, child.text()
    assert json.loads(child.text()) == []


@pytest.mark.parametrize("name", shipped())
def test_it_trains(zygote: Zygote, name: str, tmp_path: Path) -> None:
    child = zygote.run("train", name, *BRIEF, *SMALL.get(name, []), "run.dir=run", "--json", "--quiet", cwd=tmp_path)
    assert child.wait() == 0, child.text()
    told = json.loads(child.text()[child.text().index("{") :])
    assert told["step"] == 2 and told["reason"] == "finished" and told["metrics"]
    assert (tmp_path / "run" / "plots" / "curves.png").stat().st_size > 1000
