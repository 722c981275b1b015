"""The command line: exit codes, JSON alone on standard output, and faults told all at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.zygote import ROOT, Zygote


def test_faults_of_every_kind_are_told_together(zygote: Zygote, tmp_path: Path) -> None:
    """A misspelled key, a wrong value, unknown names and an unknown keyword argument: schema and tables in one breath."""
    (tmp_path / "rocks.yaml").write_text(
        "version: 1\n"
        "task: image_classification\n"
        "data:\n"
        "  train: photos/\n"
        "  transforms:\n"
        "    train: [{name: randm_crop}]\n"
        "model: {name: timm/resnet18, wieghts: none}\n"
        "optimizer: {name: adamw, lr: 1e-3, momentum: 0.9}\n"
        "schedule: {name: cosin}\n"
        "train: {batchsize: 3, ema: 2}\n",
        encoding="utf-8",
    )
    child = zygote.run("recipe", "check", "rocks.yaml", "--json", cwd=tmp_path)
    assert child.wait() == 2, child.text()
    found = {(fault["key"], fault["where"]) for fault in json.loads(child.text())}
    assert found == {
        ("train.batchsize", "rocks.yaml:10"), ("train.ema", "rocks.yaml:10"), ("data.transforms.train[0].name", "rocks.yaml:6"),
        ("model.wieghts", "rocks.yaml:7"), ("optimizer.momentum", "rocks.yaml:8"), ("schedule.name", "rocks.yaml:9"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["train", "nothing.txt"], 2, "nothing.txt"),
        (["train", "image_classification/tinny"], 2, 'did you mean "image_classification/tiny"'),
        (["train", "image_classification/tiny", "data.train=nowhere"], 2, "nowhere"),
        (["train", "image_classification/tiny", "device=cuda:77"], 2, "device"),
        (["evaluate", "nothing"], 2, "nothing"),
        (["predict", "nothing", "a.jpg"], 2, "nothing"),
        (["compare", "one"], 2, "two or more"),
        (["model", "summary", "timm/resnet81"], 2, "resnet"),
        (["data", "check", "nowhere"], 2, "nowhere"),
        (["data", "get", "mnit"], 1, "mnist"),
        (["train"], 2, "target"),
    ],
)
def test_mistakes_are_told_without_a_traceback(zygote: Zygote, words: list[str], code: int, said: str, tmp_path: Path) -> None:
    child = zygote.run(*words, cwd=tmp_path)
    assert child.wait() == code, child.text()
    assert said in child.text() and "Traceback" not in child.text(), child.text()


def test_json_stands_alone_on_standard_output(tmp_path: Path) -> None:
    brief = ["train.duration.steps=2", "evaluate.every.steps=2", "schedule={name: constant}", "train.threads=1", "data.workers=0"]
    train = ["train", "image_classification/tiny", *brief, "run.dir=run"]
    for words in (train, ["evaluate", "run"], ["runs", "list", "--root", "."], ["recipe", "list"]):
        command = [sys.executable, "-m", "liandan", *words, "--json"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment())
        assert run.returncode == 0, run.stderr
        json.loads(run.stdout)


def test_a_summary_tells_what_of_a_file_fits(zygote: Zygote, tmp_path: Path) -> None:
    import torch

    from liandan import models

    torch.save({"state_dict": models.build("liandan/lenet5").state_dict(), "meta": {}}, tmp_path / "权重.pth")
    child = zygote.run("model", "summary", "liandan/lenet5", "weights=权重.pth", "num_classes=3", "--json", cwd=tmp_path)
    assert child.wait() == 0, child.text()
    told = json.loads(child.text())
    assert told["parameters"] == 61_706 - 7 * 85 and told["field"] == 16 and told["rows"][0]["field"] == 5
    assert told["weights"]["classes"] == [10, 3] and told["weights"]["reinitialized"] == ["head.weight", "head.bias"]
    child = zygote.run("model", "summary", "liandan/alexnet", "weights=权重.pth", cwd=tmp_path)
    assert child.wait() == 3 and "has shape (6, 1, 5, 5) in the file" in child.text() and "Traceback" not in child.text(), child.text()


def environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_no_data_is_detected_where_there_is_none(zygote: Zygote, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    child = zygote.run("train", "empty", cwd=tmp_path)
    assert child.wait() == 2 and "folder of images for each class" in child.text(), child.text()


def test_a_run_that_never_began_leaves_nothing(zygote: Zygote, tmp_path: Path) -> None:
    child = zygote.run("train", "image_classification/tiny", "data.train=nowhere", "run.dir=run", cwd=tmp_path)
    assert child.wait() == 2, child.text()
    assert not (tmp_path / "run").exists()
