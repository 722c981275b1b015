"""The names of classification's metrics, as a recipe writes them: `accuracy`, `top5`, `f1_weighted`, `recall:猫`, `precision@0.3`.

A name is a measure, then what it may be followed by:

    measure               followed by
    loss, ece             nothing
    support               :class
    accuracy, top<K>      @threshold: the true class must have a larger probability than that
    precision, recall, f1 _macro (if nothing is said) _micro _weighted _none, or :class; @threshold
    auc,                  _macro (if nothing is said) _micro _weighted _none, or :class
    average_precision

`_none` is no average: it stands for one metric a class.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from liandan.tasks import metrics

MOST_CLASSES = 100  # up to so many, a sample's row holds the probability of every class
_AVERAGES = ("macro", "micro", "weighted", "none")
_OF_COUNTS = ("precision", "recall", "f1")
_OF_CURVES = ("auc", "average_precision")
_AVERAGED = (*_OF_COUNTS, *_OF_CURVES)
# longest first: "average_precision" must not be read as something that ends in "precision"
_NAME = re.compile(
    r"(?P<measure>loss|accuracy|top(?P<k>[1-9]\d{0,5})|average_precision|precision|recall|f1|auc|ece|support)"
    r"(?:_(?P<average>macro|micro|weighted|none))?(?::(?P<label>.+?))?(?:@(?P<threshold>0?\.\d+|[01]|[01]\.0*))?"
)
KNOWN = ("loss", "accuracy", "top5", *(f"{m}{a}" for m in _AVERAGED for a in ("", *(f"_{a}" for a in _AVERAGES))), "ece", "support")
IN_WORDS = (
    "loss, accuracy, top<K> such as top5, precision, recall, f1, auc, average_precision (each also with _macro, _micro, _weighted, "
    "_none or :<class>), ece, support; accuracy, top<K>, precision, recall and f1 also with a threshold, such as precision@0.3"
)


@dataclass(frozen=True)
class Metric:
    """A name, taken apart. `k` is 0 but for top<K>; `label` is a class; `threshold` is of the predicted class's probability."""

    name: str
    measure: str
    k: int = 0
    average: str | None = None
    label: str | None = None
    threshold: float | None = None


def parse(name: str) -> Metric | None:
    """The metric of a name, or None where there is none of that name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    measure, average, label, threshold = (match[part] for part in ("measure", "average", "label", "threshold"))
    k = int(match["k"] or 0)
    measure = "top" if k else measure
    if (average and (label or measure not in _AVERAGED)) or (label and measure not in (*_AVERAGED, "support")):
        return None
    if threshold and measure not in ("accuracy", "top", *_OF_COUNTS):
        return None
    return Metric(name, measure, k, average, label, float(threshold) if threshold else None)


def expand(names: Sequence[str], labels: Sequence[str]) -> list[str]:
    """The names with each `_none` replaced by one name a class."""
    out: list[str] = []
    for name in names:
        metric = parse(name)
        of_each = metric is not None and metric.average == "none"
        out += [name.replace("_none", f":{label}", 1) for label in labels] if of_each else [name]
    return list(dict.fromkeys(out))


@dataclass
class Table:
    """The columns of a split's rows, and what is measured of them.

    label, prediction, rank: int64 (N,). confidence, own, loss: float64 (N,), the probabilities of the predicted and of the true class, and
    the cross entropy. probabilities: float64 (N, classes), or None where there are too many classes to keep them.
    """

    labels: Sequence[str]
    label: np.ndarray
    prediction: np.ndarray
    confidence: np.ndarray
    loss: np.ndarray
    rank: np.ndarray
    probabilities: np.ndarray | None
    _counts: dict[float | None, metrics.Counts] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> Table:
        """The table of rows that `ImageClassification.judge` made."""
        whole = [np.array([row[name] for row in rows], dtype=np.int64) for name in ("label", "prediction", "rank")]
        real = [np.array([row[name] for row in rows], dtype=np.float64) for name in ("confidence", "loss")]
        kept = np.array([row["probabilities"] for row in rows], dtype=np.float64) if rows and "probabilities" in rows[0] else None
        return cls(labels, whole[0], whole[1], real[0], real[1], whole[2], kept)

    def __len__(self) -> int:
        return len(self.label)

    @cached_property
    def right(self) -> np.ndarray:
        return self.label == self.prediction

    def counts(self, threshold: float | None = None) -> metrics.Counts:
        """Counts a class; a prediction whose confidence is not above the threshold is none."""
        if threshold not in self._counts:
            said = self.prediction if threshold is None else np.where(self.confidence > threshold, self.prediction, metrics.NOTHING)
            self._counts[threshold] = metrics.count(self.label, said, len(self.labels))
        return self._counts[threshold]

    def measure(self, metric: Metric) -> float:
        """The value of a metric, a fraction of 1 but for loss and support; NaN where it is undefined. Raises KeyError without its class."""
        if not len(self):
            return math.nan
        at = None if metric.label is None else self.labels.index(metric.label) if metric.label in self.labels else -1
        if at == -1:
            raise KeyError(metric.label)
        if metric.measure == "loss":
            return math.fsum(self.loss.tolist()) / len(self)
        if metric.measure == "ece":
            return metrics.reliability(self.confidence, self.right).error
        if metric.measure == "support":
            return float(len(self) if at is None else self.counts().true[at])
        if metric.measure in ("accuracy", "top"):
            hit = self.right if metric.measure == "accuracy" else self.rank < metric.k
            if metric.threshold is not None:
                hit = hit & (np.exp(-self.loss) > metric.threshold)
            return float(hit.mean())
        if metric.measure in _OF_COUNTS:
            counts = self.counts(metric.threshold)
            if at is not None:
                return float(metrics.precision_recall_f1(counts)[metric.measure][at])
            return metrics.average(counts, metric.measure, metric.average or "macro")
        assert self.probabilities is not None, "the recipe's check refuses curves over more classes than rows hold"
        if at is None:
            return metrics.over_classes(metric.measure, self.label, self.probabilities, metric.average or "macro")
        of_one = metrics.auc if metric.measure == "auc" else metrics.average_precision
        return of_one(self.label == at, self.probabilities[:, at])

    def per_class(self) -> list[dict[str, Any]]:
        """One row a class: precision, recall, F1, support, and AUC and average precision where all probabilities were kept."""
        of_each, counts = metrics.precision_recall_f1(self.counts()), self.counts()
        rows: list[dict[str, Any]] = []
        for k, label in enumerate(self.labels):
            row = {"class": label, **{name: float(values[k]) for name, values in of_each.items()}, "support": int(counts.true[k])}
            if self.probabilities is not None:
                scores = self.probabilities[:, k]
                row["auc"] = metrics.auc(self.label == k, scores)
                row["average_precision"] = metrics.average_precision(self.label == k, scores)
            rows.append(row)
        return rows


def faults(asked: Sequence[str], labels: Sequence[str]) -> list[str]:
    """What these names cannot mean for these classes, in sentences."""
    out = []
    for metric in filter(None, map(parse, asked)):
        if metric.label is not None and metric.label not in labels:
            out.append(f'{metric.name}: there is no class "{metric.label}" in the data')
        if metric.measure in _OF_CURVES and len(labels) > MOST_CLASSES:
            kept = f"which is kept for up to {MOST_CLASSES} classes; there are {len(labels)}"
            out.append(f"{metric.name} needs the probability of every class, {kept}")
    return out


def notices(asked: Sequence[str], labels: Sequence[str]) -> list[str]:
    """What a reader of these metrics should know."""
    n = len(labels)
    trivial = [m for m in filter(None, map(parse, asked)) if m.measure == "top" and m.k >= n]
    return [f"{m.name}{f' of {n} classes is clipped to top{n}' if m.k > n else ''}: every answer reaches it" for m in trivial]
