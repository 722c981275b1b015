"""Metrics from rows. Definitions are scikit-learn's; torchmetrics computes what it has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def confusion_matrix(labels: Sequence[int], predictions: Sequence[int], classes: int) -> np.ndarray:
    """int64 (classes, classes): rows are true classes, columns predicted ones."""
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (np.asarray(labels, dtype=np.int64), np.asarray(predictions, dtype=np.int64)), 1)
    return matrix


def classification(labels: Sequence[int], predictions: Sequence[int], classes: int) -> dict[str, float]:
    """Accuracy, and precision, recall and F1 averaged over the classes that occur (macro), as fractions of 1.

    A class with no prediction has precision 0, as in scikit-learn with zero_division=0; a class that neither occurs nor is
    predicted is left out of the averages.
    """
    import torch
    from torchmetrics.functional.classification import multiclass_f1_score, multiclass_precision, multiclass_recall

    target, predicted = torch.as_tensor(labels), torch.as_tensor(predictions)
    found = {
        "precision": multiclass_precision(predicted, target, classes, average="macro"),
        "recall": multiclass_recall(predicted, target, classes, average="macro"),
        "f1": multiclass_f1_score(predicted, target, classes, average="macro"),
    }
    return {"accuracy": float((predicted == target).double().mean()), **{k: float(v) for k, v in found.items()}}


def sliced_wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """Sliced 1-Wasserstein distance of two samples of equal size, given their projections.

    Args:
        a, b: float (samples, directions), the samples projected on the same unit directions.

    Returns:
        The mean over directions of the one-dimensional distance, in units of the data.

    Bonneel, Rabin, Peyre, Pfister, "Sliced and Radon Wasserstein barycenters of measures", 2015.
    """
    return float(np.abs(np.sort(a, axis=0) - np.sort(b, axis=0)).mean())
