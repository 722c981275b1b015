"""What classification draws of a judged split, as plain data for runs.plots.figure: confusion, ROC, precision and recall, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

from liandan.tasks import metrics
from liandan.tasks.named_metrics import Table

_MOST_LINES = 6  # classes drawn in one figure: the worst, which are what one looks for
_MOST_POINTS = 400  # of a curve: more than a picture can show


def figures(table: Table) -> dict[str, dict[str, Any]]:
    """{file stem: figure}; curves only where every probability was kept and some class has both members and others."""
    labels = list(table.labels)
    matrix = metrics.confusion_matrix(table.label, table.prediction, len(labels))
    drawn: dict[str, dict[str, Any]] = {
        "confusion": {
            "kind": "matrix", "values": matrix.tolist(), "labels": labels, "title": "confusion", "x": "predicted", "y": "true",
        },
        "calibration": _calibration(table),
    }  # fmt: skip
    if table.probabilities is not None:
        roc = _lines(table, "AUC", metrics.auc, metrics.roc_curve)
        if roc:
            drawn["roc"] = {
                "kind": "lines", "series": roc, "title": "ROC, a class against the rest", "diagonal": True,
                "x": "false positive rate", "y": "true positive rate",
            }  # fmt: skip
        curve = _lines(table, "AP", metrics.average_precision, metrics.precision_recall_curve)
        if curve:
            drawn["precision_recall"] = {
                "kind": "lines", "series": curve, "title": "precision and recall, a class against the rest",
                "x": "recall", "y": "precision",
            }  # fmt: skip
    return drawn


def _calibration(table: Table) -> dict[str, Any]:
    found = metrics.reliability(table.confidence, table.right)
    return {
        "kind": "calibration", "title": f"calibration, ECE {found.error:.3f}", "edges": found.edges.tolist(),
        **{name: [None if np.isnan(v) else float(v) for v in getattr(found, name)] for name in ("confidence", "accuracy", "share")},
    }  # fmt: skip


def _lines(table: Table, word: str, area: Any, curve: Any) -> list[dict[str, Any]]:
    """The curves of the classes with the smallest areas, the smallest first; those that are undefined are left out."""
    assert table.probabilities is not None
    areas = [area(table.label == k, table.probabilities[:, k]) for k in range(len(table.labels))]
    chosen = sorted((k for k, value in enumerate(areas) if np.isfinite(value)), key=lambda k: areas[k])[:_MOST_LINES]
    out = []
    for k in chosen:
        x, y = curve(table.label == k, table.probabilities[:, k])
        at = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).astype(np.int64))
        out.append({"name": f"{table.labels[k]}  {word} {areas[k]:.3f}", "x": x[at].tolist(), "y": y[at].tolist()})
    return out
