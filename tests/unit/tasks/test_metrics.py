"""Every metric against another project's code, on random and on awkward cases."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance
from sklearn import metrics as sklearn
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import multiclass_calibration_error

from liandan.tasks import metrics
from liandan.tasks.image_classification import ImageClassification
from liandan.tasks.language_model import LanguageModel, next_token

AVERAGES = ("macro", "micro", "weighted")
PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)  # absent classes and single ones among them


def reference(labels: Any, predictions: Any, average: str | None, classes: Any = None) -> dict[str, Any]:
    found = sklearn.precision_recall_fscore_support(labels, predictions, labels=classes, average=average, zero_division=0)  # pyright: ignore
    return dict(zip(("precision", "recall", "f1", "support"), found, strict=True))


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_precision_recall_and_f1_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = (np.array(column) for column in zip(*pairs, strict=True))
    counts = metrics.count(labels, predictions, 5)
    for how in AVERAGES:
        expected = reference(labels, predictions, how)
        for name in ("precision", "recall", "f1"):
            assert metrics.average(counts, name, how) == pytest.approx(expected[name], abs=1e-12), (name, how)
    expected = reference(labels, predictions, None, range(5))
    for name, values in metrics.precision_recall_f1(counts).items():
        assert values == pytest.approx(expected[name], abs=1e-12), name
    assert (counts.true == expected["support"]).all()
    assert (metrics.confusion_matrix(labels, predictions, 5) == sklearn.confusion_matrix(labels, predictions, labels=range(5))).all()


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.integers(0, 2**32 - 1))
def test_a_prediction_that_is_too_unsure_is_none_of_the_classes(pairs: list[tuple[int, int]], seed: int) -> None:
    """scikit-learn's numbers with one more class, which stands for no answer and is left out of the averages."""
    labels, predictions = (np.array(column) for column in zip(*pairs, strict=True))
    unsure = np.random.default_rng(seed).random(len(labels)) < 0.5
    said = np.where(unsure, metrics.NOTHING, predictions)
    counts, there = metrics.count(labels, said, 5), sorted({*labels.tolist(), *said[~unsure].tolist()})
    for how in AVERAGES:
        expected = reference(labels, np.where(unsure, 5, predictions), how, there)
        for name in ("precision", "recall", "f1"):
            assert metrics.average(counts, name, how) == pytest.approx(expected[name], abs=1e-12), (name, how)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=40))
def test_curves_are_scikit_learns_with_ties(pairs: list[tuple[bool, int]]) -> None:
    positive, scores = np.array([p for p, _ in pairs]), np.array([s / 6 for _, s in pairs])
    if 0 < positive.sum() < len(positive):
        assert metrics.auc(positive, scores) == pytest.approx(sklearn.roc_auc_score(positive, scores), abs=1e-12)
        false, true, _ = sklearn.roc_curve(positive, scores, drop_intermediate=False)
        ours = metrics.roc_curve(positive, scores)
        assert ours[0] == pytest.approx(false) and ours[1] == pytest.approx(true)
    else:
        assert math.isnan(metrics.auc(positive, scores))
    if positive.any():
        assert metrics.average_precision(positive, scores) == pytest.approx(sklearn.average_precision_score(positive, scores), abs=1e-12)
        precision, recall, _ = sklearn.precision_recall_curve(positive, scores)
        ours = metrics.precision_recall_curve(positive, scores)
        assert ours[0] == pytest.approx(recall[::-1]) and ours[1] == pytest.approx(precision[::-1])
    else:
        assert math.isnan(metrics.average_precision(positive, scores))


def judged(classes: int = 6, n: int = 200, absent: int | None = None, seed: int = 0) -> tuple[ImageClassification, list[Any], Any, Any]:
    """(task, its rows, labels, probabilities) of random logits, with ties and, if asked for, a class that never occurs."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, classes, generator=generator, dtype=torch.float64).mul(4).round() / 2
    labels = torch.randint(classes, (n,), generator=generator)
    if absent is not None:
        labels = torch.where(labels == absent, (absent + 1) % classes, labels)
    task = ImageClassification(None, [f"类{i}" for i in range(classes)], {"in_chans": 1, "size": [8, 8]})
    rows = task.judge({"logits": logits}, {"index": torch.arange(n), "label": labels})
    p = logits.softmax(1).numpy()
    if "probabilities" in rows[0]:  # the same to the last bit, or values that are tied in one are not in the other
        kept = np.array([row["probabilities"] for row in rows])
        assert kept == pytest.approx(p, abs=1e-12)
        p = kept
    return task, rows, labels.numpy(), p


def test_every_name_is_scikit_learns_number() -> None:
    task, rows, labels, p = judged()
    predicted, one_hot = p.argmax(1), np.eye(6)[labels]
    expected: dict[str, Any] = {
        "loss": sklearn.log_loss(labels, p, labels=range(6)),
        "accuracy": sklearn.accuracy_score(labels, predicted),
        "accuracy@0.4": np.mean((labels == predicted) & (p.max(1) > 0.4)),
        "top3": np.mean([(p[i] > p[i, label]).sum() < 3 for i, label in enumerate(labels)]),
        "support": 200, "support:类2": (labels == 2).sum(),
        "auc:类2": sklearn.roc_auc_score(labels == 2, p[:, 2]),
        "average_precision:类2": sklearn.average_precision_score(labels == 2, p[:, 2]),
    }  # fmt: skip
    for how in AVERAGES:
        for name in ("precision", "recall", "f1"):
            expected[f"{name}_{how}"] = reference(labels, predicted, how)[name]
            expected[f"{name}_{how}@0.3"] = reference(labels, np.where(p.max(1) > 0.3, predicted, 6), how, range(6))[name]
        expected[f"auc_{how}"] = sklearn.roc_auc_score(labels, p, multi_class="ovr", average=how)
        expected[f"average_precision_{how}"] = sklearn.average_precision_score(one_hot, p, average=how)
    for name in ("precision", "recall", "f1"):
        expected[name] = expected[f"{name}_macro"]
        expected[f"{name}:类4"] = reference(labels, predicted, None)[name][4]
    expected |= {name: expected[f"{name}_macro"] for name in ("auc", "average_precision")}
    assert task.ask(list(expected)) == []
    found = task.measured(rows)
    assert found == pytest.approx(expected, abs=1e-9)


def test_top_k_without_ties_is_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 9, generator=generator), torch.randint(9, (50,), generator=generator)
    task = ImageClassification(None, [str(i) for i in range(9)], {"in_chans": 1, "size": [8, 8]})
    task.ask(["top1", "top2", "top5", "loss"])
    found = task.measured(task.judge({"logits": logits}, {"index": torch.arange(50), "label": labels}))
    probabilities = logits.double().softmax(1).numpy()
    for k in (1, 2, 5):
        assert found[f"top{k}"] == pytest.approx(sklearn.top_k_accuracy_score(labels.numpy(), probabilities, k=k, labels=range(9)))
    assert found["loss"] == pytest.approx(sklearn.log_loss(labels.numpy(), probabilities, labels=range(9)), rel=1e-6)


def test_calibration_is_scikit_learns_and_torchmetrics() -> None:
    _, _, labels, p = judged(seed=3)
    found = metrics.reliability(p.max(1), labels == p.argmax(1))
    accuracy, confidence = calibration_curve(labels == p.argmax(1), p.max(1), n_bins=metrics.BINS, strategy="uniform")
    full = found.share > 0
    assert found.accuracy[full] == pytest.approx(accuracy) and found.confidence[full] == pytest.approx(confidence)
    reference = multiclass_calibration_error(torch.as_tensor(p), torch.as_tensor(labels), 6, n_bins=metrics.BINS, norm="l1")
    assert found.error == pytest.approx(float(reference), abs=1e-6)
    assert metrics.reliability(np.array([1.0, 1.0]), np.array([True, False])).error == pytest.approx(0.5)


def test_a_class_that_never_occurs_is_left_out_and_makes_nothing_undefined() -> None:
    task, rows, labels, p = judged(absent=2)
    task.ask(["auc", "average_precision", "auc:类2", "recall:类2", "f1", "auc_weighted"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = task.measured(rows)
    there = [k for k in range(6) if k != 2]
    assert found["auc"] == pytest.approx(np.mean([sklearn.roc_auc_score(labels == k, p[:, k]) for k in there]))
    assert found["average_precision"] == pytest.approx(np.mean([sklearn.average_precision_score(labels == k, p[:, k]) for k in there]))
    assert math.isnan(found["auc:类2"]) and found["recall:类2"] == 0 and math.isfinite(found["auc_weighted"])
    assert found["f1"] == pytest.approx(reference(labels, p.argmax(1), "macro")["f1"])


def test_samples_of_one_class_alone() -> None:
    task = ImageClassification(None, ["猫"], {"in_chans": 1, "size": [8, 8]})
    rows = task.judge({"logits": torch.zeros(4, 1)}, {"index": torch.arange(4), "label": torch.zeros(4, dtype=torch.int64)})
    task.ask(["accuracy", "top5", "precision", "recall", "f1", "auc", "ece", "average_precision"])
    found = task.measured(rows)
    assert math.isnan(found.pop("auc"))
    assert found == {"accuracy": 1, "top5": 1, "precision": 1, "recall": 1, "f1": 1, "ece": 0, "average_precision": 1}
    shows = task.findings(rows)
    assert shows.tables["classes"][0]["support"] == 4 and set(shows.figures) == {"confusion", "calibration", "precision_recall"}


def test_many_classes_keep_no_probabilities_and_still_have_every_count() -> None:
    task, rows, labels, p = judged(classes=101, n=50)
    assert "probabilities" not in rows[0]
    assert task.ask(["auc"]) and "100 classes" in task.ask(["auc"])[0]
    task.ask(["top5", "ece", "f1_weighted"])
    assert task.measured(rows)["f1_weighted"] == pytest.approx(reference(labels, p.argmax(1), "weighted")["f1"])
    shows = task.findings(rows)
    assert set(shows.figures) == {"confusion", "calibration"} and len(shows.tables["classes"]) == 101


def test_mistakes_come_with_the_surest_first() -> None:
    task, rows, labels, p = judged()
    wrong = np.flatnonzero(labels != p.argmax(1))
    found = task.findings(rows).mistakes
    assert sorted(m["index"] for m in found) == wrong.tolist()
    assert found[0]["confidence"] == pytest.approx(p.max(1)[wrong].max())
    assert [m["confidence"] for m in found] == sorted((m["confidence"] for m in found), reverse=True)
    first = found[0]
    assert (first["true"], first["predicted"]) == (f"类{labels[first['index']]}", f"类{p[first['index']].argmax()}")


def test_views_are_averaged_as_probabilities() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, stride=2), torch.nn.Flatten(), torch.nn.Linear(36, 5))
    images = torch.randn(3, 1, 8, 8)
    task = ImageClassification(None, list("abcde"), {"in_chans": 1, "size": [8, 8]})
    assert torch.equal(task.answer(model, {"image": images})["logits"], model(images))
    task.ask(["accuracy"], ["hflip", "vflip"])
    looks = (images, torch.flip(images, [3]), torch.flip(images, [2]))
    expected = torch.stack([torch.softmax(model(look).double(), 1) for look in looks]).mean(0)
    assert torch.allclose(task.answer(model, {"image": images})["logits"].softmax(1), expected)


def test_sliced_wasserstein_is_scipys_mean() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 30, 7))
    expected = np.mean([wasserstein_distance(a[:, k], b[:, k] + 1) for k in range(7)])
    assert metrics.sliced_wasserstein(a, b + 1) == pytest.approx(expected)
    assert metrics.sliced_wasserstein(a, a[::-1]) == 0


def test_perplexity_and_bits_per_byte_of_a_uniform_model() -> None:
    """A model that knows nothing of a vocabulary of 256 single bytes: perplexity 256, 8 bits a byte; padding does not count."""
    task = LanguageModel(None, None, {"vocab_size": 256, "context": 6})
    ids = torch.tensor([[1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 0, 0, 0, 0]])
    batch = {"index": torch.arange(2), "ids": ids, "length": torch.tensor([6, 2]), "bytes": torch.tensor([6, 2])}
    batch = task.prepare(torch.nn.Identity(), batch)
    found = task.summary(task.judge({"logits": torch.zeros(2, 6, 256)}, batch))
    assert found == pytest.approx({"loss": math.log(256), "perplexity": 256.0, "bits_per_byte": 8.0})
    assert float(next_token(torch.zeros(2, 6, 256), batch["target"]).sum()) == pytest.approx(8 * math.log(256), rel=1e-6)
