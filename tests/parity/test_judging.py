"""What the image classifiers that people come from get wrong in judging, done right: one run that asks for all of it at once."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as sklearn

import liandan
from liandan.engine import session
from liandan.recipe import make_recipe
from liandan.runs.layout import RunError
from liandan.runs.record import read_metrics

CLASSES = ["a,b", "石英 岩", "空的", "长石"]  # the third never occurs in validation
METRICS = [
    "accuracy", "top1", "top9", "accuracy@0.99", "precision", "precision@0.3", "precision@0.99", "recall_macro", "recall_micro",
    "f1_weighted", "f1_none", "support", "auc", "auc:空的",
]  # fmt: skip
NAMES_OF_EACH = [f"f1:{name}" for name in CLASSES]


def picture(label: int, number: int, path: Path) -> None:
    pixels = np.random.default_rng([label, number]).integers(0, 120, (16, 16), dtype=np.uint8)
    pixels[4 * label : 4 * label + 4] += 80
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, session.Outcome]:
    folder = tmp_path_factory.mktemp("岩石")
    for label, name in enumerate(CLASSES):
        for number in range(20):
            picture(label, number, folder / "训练" / name / f"图{number}.png")
        for number in range(7 if name != "空的" else 0):
            picture(label, 100 + number, folder / "验证" / name / f"图{number}.png")
    steps = ["to_float", {"name": "normalize", "mean": [0.5], "std": [0.5]}]
    recipe = make_recipe({
        "version": 1, "task": "image_classification", "name": "岩石",
        "data": {"train": str(folder / "训练"), "val": str(folder / "验证"), "workers": 0, "transforms": {"train": steps, "eval": steps}},
        "model": {"name": "liandan/lenet5", "norm": True, "in_chans": 3},
        "train": {"duration": {"steps": 12}, "batch_size": 16, "threads": 1},
        "evaluate": {
            "every": {"steps": 4}, "metrics": METRICS, "batch_size": 4, "best": {"metric": "val/precision@0.99", "mode": "max"},
        },
        "run": {"dir": str(folder / "run")},
    })  # fmt: skip
    notes: list[str] = []
    outcome = session.start(recipe, watch=lambda event: notes.append(event.get("note", "")))
    assert any("top9 of 4 classes is clipped to top4" in note for note in notes)
    return folder / "run", outcome


def lines(run: Path, file: str) -> list[dict[str, str]]:
    content = (run / "evaluation" / "val" / file).read_bytes()
    assert content.startswith(b"\xef\xbb\xbf"), "Excel takes a CSV without the mark for a local code page"
    return list(csv.DictReader(content.decode("utf-8-sig").splitlines()))


def predictions(run: Path) -> tuple[list[int], list[int], np.ndarray]:
    rows = lines(run, "predictions.csv")
    probabilities = np.array([[float(row[f"p:{name}"]) for name in CLASSES] for row in rows])
    return [CLASSES.index(row["label"]) for row in rows], [CLASSES.index(row["prediction"]) for row in rows], probabilities


def test_every_average_and_count_of_top_k_works(done: tuple[Path, session.Outcome]) -> None:
    """`macro`, `support` and a single top-k end elsewhere in AttributeError and TypeError; a list a class has no place in a curve."""
    run, outcome = done
    labels, predicted, _ = predictions(run)
    found = {name.removeprefix("val/"): value for name, value in outcome.metrics.items()}
    assert list(found) == [*METRICS[: METRICS.index("f1_none")], *NAMES_OF_EACH, *METRICS[METRICS.index("f1_none") + 1 :]]
    assert found["top9"] == 1 and found["top1"] == found["accuracy"] and found["support"] == len(labels)
    for how in ("macro", "micro"):
        assert found[f"recall_{how}"] == pytest.approx(sklearn.recall_score(labels, predicted, average=how, zero_division=0))  # pyright: ignore
    each: Any = sklearn.f1_score(labels, predicted, labels=range(4), average=None, zero_division=0)  # pyright: ignore
    assert [found[name] for name in NAMES_OF_EACH] == pytest.approx(list(each))


def test_a_threshold_never_breaks_the_choice_of_the_best(done: tuple[Path, session.Outcome]) -> None:
    """Each threshold is a metric under a name of its own, and a number in every evaluation: nothing is ever compared with None."""
    run, outcome = done
    rows = [row for row in read_metrics(outcome.layout) if "val/precision@0.99" in row]
    assert len(rows) == 3 and all(math.isfinite(row[f"val/{name}"]) for row in rows for name in ("precision@0.3", "precision@0.99"))
    best = json.loads((run / "checkpoints" / "best.json").read_text())
    assert best["metric"] == "val/precision@0.99" and best["value"] == max(row["val/precision@0.99"] for row in rows)
    assert outcome.metrics["val/precision@0.99"] == pytest.approx(best["value"])


def test_the_metric_of_the_best_is_measured_when_the_list_leaves_it_out() -> None:
    from liandan.runtime.assemble import ask
    from liandan.tasks.image_classification import ImageClassification

    values = {"version": 1, "task": "image_classification", "data": {"train": "x"}, "model": {"name": "liandan/lenet5"}}
    task = ImageClassification(None, CLASSES, {"in_chans": 1, "size": [8, 8]})
    ask(make_recipe({**values, "evaluate": {"metrics": ["accuracy@0.3"]}}), task)
    assert task.asked == ("accuracy@0.3", "accuracy")


def test_evaluating_again_gives_the_same_numbers(done: tuple[Path, session.Outcome]) -> None:
    run, outcome = done
    opened = liandan.open_run(run)
    assert opened.evaluate(batch_size=7) == pytest.approx(outcome.metrics, nan_ok=True, rel=1e-6)
    mirrored = opened.evaluate(tta=["hflip"])
    assert set(mirrored) == {name.replace("val/", "val-tta/") for name in outcome.metrics}
    assert opened.evaluate() == pytest.approx(outcome.metrics, nan_ok=True, rel=1e-12)  # the views were for once
    with pytest.raises(RunError, match="hflip, vflip"):
        opened.evaluate(tta=["hflop"])


def test_classes_keep_their_names_and_an_absent_one_spoils_nothing(done: tuple[Path, session.Outcome]) -> None:
    """Curves and tables go by the class's name, not by the place it happens to have among those that occur."""
    run, outcome = done
    labels, predicted, probabilities = predictions(run)
    assert math.isnan(outcome.metrics["val/auc:空的"])
    there = sorted(set(labels))
    expected = np.mean([sklearn.roc_auc_score(np.array(labels) == k, probabilities[:, k]) for k in there])
    assert outcome.metrics["val/auc"] == pytest.approx(expected, abs=1e-4)
    of_class = {row["class"]: row for row in lines(run, "classes.csv")}
    assert list(of_class) == CLASSES and of_class["空的"]["support"] == "0" and of_class["空的"]["auc"] == "NaN"
    matrix = lines(run, "confusion.csv")
    assert [[int(row[name]) for name in CLASSES] for row in matrix] == sklearn.confusion_matrix(labels, predicted, labels=range(4)).tolist()
    kept = json.loads((run / "evaluation" / "val" / "metrics.json").read_text())
    assert kept["auc:空的"] == "NaN"


def test_every_sample_stands_in_the_csv_under_its_own_name(done: tuple[Path, session.Outcome]) -> None:
    """The tail is judged (21 samples in batches of 4), names and classes are those of the files, and the file is whole."""
    run, _ = done
    rows = lines(run, "predictions.csv")
    assert len(rows) == 21 and len({row["name"] for row in rows}) == 21
    assert all(row["name"].split("/")[0] == row["label"] for row in rows)
    for row in rows:
        p = {name: float(row[f"p:{name}"]) for name in CLASSES}
        assert sum(p.values()) == pytest.approx(1, abs=1e-5)
        assert float(row["loss"]) == pytest.approx(-math.log(p[row["label"]]), rel=1e-3, abs=1e-5)
        assert int(row["rank"]) == sum(v > p[row["label"]] for v in p.values())


def test_the_report_is_there_with_its_pictures(done: tuple[Path, session.Outcome]) -> None:
    run, _ = done
    folder = run / "evaluation" / "val"
    assert {path.name for path in folder.glob("*.png")} == {"confusion.png", "calibration.png", "roc.png", "precision_recall.png"}
    page = (folder / "report.html").read_text(encoding="utf-8")
    for words in ("曲线", "每步时间", "混淆矩阵", "石英 岩", "clipped to top4", "forward"):
        assert words in page, words


def test_time_is_divided_among_the_parts_of_a_step(done: tuple[Path, session.Outcome]) -> None:
    """What the parts add up to is not more than the whole took, and says nothing of the model's state."""
    run, outcome = done
    rows = read_metrics(outcome.layout)
    parts = ("data", "prepare", "forward", "backward", "optimizer")
    spent, before = 0.0, 0
    for row in rows:
        assert all(row[f"time/{part}"] >= 0 for part in parts)
        spent += sum(row[f"time/{part}"] for part in parts[1:]) * (row["step"] - before)
        before = row["step"]
    assert 0 < spent <= rows[-1]["seconds"]
    assert "time/" not in json.dumps(json.loads((run / "checkpoints" / "step-00000012" / "state.json").read_text()))
