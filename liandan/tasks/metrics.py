"""Metrics from arrays. Definitions are scikit-learn's, in float64; what is undefined (an AUC with one class) is NaN, never a guess."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 15  # of confidence, as in Guo et al. 2017
NOTHING = -1  # a prediction that was too unsure to count


@dataclass(frozen=True)
class Counts:
    """Per class, int64 (classes,): samples of it, samples predicted as it, and both at once."""

    true: np.ndarray
    predicted: np.ndarray
    both: np.ndarray


def confusion_matrix(labels: Sequence[int] | np.ndarray, predictions: Sequence[int] | np.ndarray, classes: int) -> np.ndarray:
    """int64 (classes, classes): rows are true classes, columns predicted ones; a prediction of NOTHING is in no column."""
    true, predicted = np.asarray(labels, dtype=np.int64), np.asarray(predictions, dtype=np.int64)
    matrix = np.zeros((classes, classes), dtype=np.int64)
    said = predicted != NOTHING
    np.add.at(matrix, (true[said], predicted[said]), 1)
    return matrix


def count(labels: np.ndarray, predictions: np.ndarray, classes: int) -> Counts:
    """Counts of int64 (N,) labels and predictions; a prediction of NOTHING counts as no class."""
    said = predictions[predictions != NOTHING]
    return Counts(
        np.bincount(labels, minlength=classes),
        np.bincount(said, minlength=classes),
        np.bincount(labels[labels == predictions], minlength=classes),
    )


def precision_recall_f1(counts: Counts) -> dict[str, np.ndarray]:
    """{"precision", "recall", "f1"} of each class, float64 (classes,); 0 where nothing is divided by nothing (zero_division=0)."""

    def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)

    return {
        "precision": share(counts.both, counts.predicted),
        "recall": share(counts.both, counts.true),
        "f1": share(2.0 * counts.both, counts.true + counts.predicted),
    }


def average(counts: Counts, name: str, how: str) -> float:
    """Precision, recall or F1 over classes.

    Args:
        name: "precision", "recall" or "f1".
        how: "macro", the mean over the classes that occur or are predicted; "weighted", each class weighs as many as its samples; "micro",
            of the counts of all classes together.
    """
    if how == "micro":
        return float(precision_recall_f1(Counts(*(np.array([x.sum()]) for x in (counts.true, counts.predicted, counts.both))))[name][0])
    of_each = precision_recall_f1(counts)[name]
    weights = counts.true if how == "weighted" else (counts.true + counts.predicted > 0).astype(np.int64)
    return float(np.average(of_each, weights=weights)) if weights.sum() else math.nan


def steps(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many are rightly and wrongly called positive at each threshold; equal scores are one threshold.

    Args:
        positive: bool (N,). scores: float (N,).

    Returns:
        (true positives, false positives, thresholds), each (thresholds,), the highest threshold first.
    """
    order = np.argsort(-scores, kind="stable")
    sorted_scores, right = scores[order], positive[order]
    last = np.flatnonzero(np.append(np.diff(sorted_scores) != 0, True)) if len(scores) else np.zeros(0, dtype=np.int64)
    true = np.cumsum(right)[last]
    return true, last + 1 - true, sorted_scores[last]


def roc_curve(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(false positive rate, true positive rate) from (0, 0) to (1, 1); NaN where there are no negatives or no positives."""
    true, false, _ = steps(positive, scores)
    with np.errstate(invalid="ignore", divide="ignore"):
        negatives, positives = np.float64((~positive).sum()), np.float64(positive.sum())
        return np.append(0, false) / negatives, np.append(0, true) / positives


def auc(positive: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve by trapezoids; NaN unless there are positives and negatives."""
    false, true = roc_curve(positive, scores)
    return float(np.trapezoid(true, false))


def precision_recall_curve(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(recall, precision) at each threshold, the highest first, after the point (0, 1); recall is NaN without positives."""
    true, false, _ = steps(positive, scores)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.append(0, true / np.float64(positive.sum())), np.append(1, true / (true + false))


def average_precision(positive: np.ndarray, scores: np.ndarray) -> float:
    """Sum over thresholds of the gain in recall times the precision there; NaN without positives."""
    recall, precision = precision_recall_curve(positive, scores)
    return float((np.diff(recall) * precision[1:]).sum())


def over_classes(curve: str, labels: np.ndarray, probabilities: np.ndarray, how: str) -> float:
    """AUC or average precision, one class against the rest.

    Args:
        curve: "auc" or "average_precision".
        labels: int64 (N,). probabilities: float (N, classes).
        how: "macro" and "weighted" over the classes for which it is defined (those that occur, and for an AUC not alone); "micro", of
            all (sample, class) pairs together.
    """
    one_hot = labels[:, None] == np.arange(probabilities.shape[1])
    measure = {"auc": auc, "average_precision": average_precision}[curve]
    if how == "micro":
        return measure(one_hot.ravel(), probabilities.ravel())
    of_each = np.array([measure(one_hot[:, k], probabilities[:, k]) for k in range(probabilities.shape[1])])
    defined = np.isfinite(of_each)
    if not defined.any():
        return math.nan
    return float(np.average(of_each[defined], weights=one_hot.sum(0)[defined] if how == "weighted" else None))


@dataclass(frozen=True)
class Reliability:
    """Samples by confidence, in bins of equal width; each float64 (bins,), NaN in an empty bin but for `share`.

    confidence, accuracy: means of a bin. share: of all samples.
    """

    edges: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    share: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: mean of |accuracy - confidence| over samples' bins (Naeini et al. 2015; Guo et al. 2017)."""
        return float(np.nansum(self.share * np.abs(self.accuracy - self.confidence)))


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> Reliability:
    """How often predictions of a confidence are right.

    Args:
        confidence: float (N,), the probability given to the predicted class. right: bool (N,).
    """
    edges = np.linspace(0.0, 1.0, bins + 1)
    of = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, bins - 1)
    number = np.bincount(of, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(of, weights=x, minlength=bins) / number for x in (confidence, right.astype(np.float64))]
    return Reliability(edges, means[0], means[1], number / max(1, len(confidence)))


def sliced_wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """Sliced 1-Wasserstein distance of two samples of equal size, given their projections.

    Args:
        a, b: float (samples, directions), the samples projected on the same unit directions.

    Returns:
        The mean over directions of the one-dimensional distance, in units of the data.

    Bonneel, Rabin, Peyre, Pfister, "Sliced and Radon Wasserstein barycenters of measures", 2015.
    """
    return float(np.abs(np.sort(a, axis=0) - np.sort(b, axis=0)).mean())
