"""Cross-validation: runs that are runs, a study that is resumed where it was left, numbers that are the folds' own."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path

import pytest

from tests.zygote import Zygote

WORDS = [
    "train", "image_classification/tiny", "--folds", "3", "train.duration.steps=8", "evaluate.every.steps=8", "checkpoint.every.steps=4",
    "schedule={name: constant}", "train.threads=1", "data.workers=0",
]  # fmt: skip


def measured(root: Path, number: int) -> dict[str, float]:
    return json.loads((root / f"fold-{number}" / "evaluation" / "val" / "metrics.json").read_text())


@pytest.fixture(scope="module")
def root(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was ended in its second fold and went on."""
    folder = tmp_path_factory.mktemp("folds")
    child = zygote.run(*WORDS, "run.dir=study", cwd=folder, before=["tests.unit.studies.moments:in_second_fold"])
    assert child.wait() == 143, child.text()
    assert "stopped after 1 of 3 folds" in child.text() and "--folds 3 --resume" in child.text()
    assert not (folder / "study" / "folds.json").exists()
    first = (folder / "study" / "fold-1" / "metrics.jsonl").read_bytes()
    child = zygote.run(*WORDS, "run.dir=study", "--resume", cwd=folder)
    assert child.wait() == 0, child.text()
    assert (folder / "study" / "fold-1" / "metrics.jsonl").read_bytes() == first  # a finished fold is not made again
    assert "resumed at step 6" in child.text()
    return folder / "study"


def test_every_sample_is_judged_once(root: Path) -> None:
    held = [name for n in (1, 2, 3) for name in json.loads((root / f"fold-{n}" / "data.json").read_text())["held_out"]]
    assert len(held) == len(set(held)) == 1797
    with (root / "predictions.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert sorted(line["name"] for line in lines) == sorted(held) and {line["fold"] for line in lines} == {"1", "2", "3"}


def test_mean_and_spread_are_those_of_the_folds(root: Path) -> None:
    found = json.loads((root / "folds.json").read_text())
    table = {row["metric"]: row for row in found["table"]}
    assert set(table) == {"loss", "accuracy", "top5", "precision", "recall", "f1"}
    for metric, row in table.items():
        values = [measured(root, n)[metric] for n in (1, 2, 3)]
        assert row["mean"] == pytest.approx(statistics.fmean(values)) and row["std"] == pytest.approx(statistics.stdev(values))
    page = (root / "report.html").read_text(encoding="utf-8")
    assert 'href="fold-3/evaluation/val/report.html"' in page and (root / "fold-3/evaluation/val/report.html").exists()


def test_a_fold_is_a_run_like_any_other(zygote: Zygote, root: Path) -> None:
    child = zygote.run("evaluate", str(root / "fold-2"), "--json", cwd=root)
    assert child.wait() == 0, child.text()
    assert json.loads(child.text()[child.text().index("{") :])["val/accuracy"] == measured(root, 2)["accuracy"]


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        (["--resume", "optimizer.lr=1e-2"], 3, "optimizer.lr: 0.003 -> 0.01"),
        (["--resume", "--folds", "4"], 3, "holds 3 folds"),
        ([], 2, "already holds folds"),
        (["--resume", "--processes", "2"], 2, "leave --processes out"),
    ],
)
def test_folds_of_different_recipes_are_not_mixed(zygote: Zygote, root: Path, changes: list[str], code: int, said: str) -> None:
    child = zygote.run(*WORDS, f"run.dir={root}", *changes, cwd=root)
    assert child.wait() == code and said in child.text(), child.text()
