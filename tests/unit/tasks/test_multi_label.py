"""Multi-label classification: every number is scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics

from liandan.tasks.multi_label import MultiLabel

NAMES = ["猫", "狗", "车", "树"]


def task(loss: dict[str, Any] | None = None) -> MultiLabel:
    return MultiLabel(loss, NAMES, {"in_chans": 1, "size": [8, 8]})


def outcome(seed: int, n: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    target = (torch.rand(n, 4, generator=draw) < torch.tensor([0.5, 0.2, 0.05, 0.0])).float()  # no image has the last class
    return torch.randn(n, 4, generator=draw, dtype=torch.float64) * 2 + target * 1.5, target


def rows(seed: int) -> tuple[list[dict[str, Any]], np.ndarray, np.ndarray]:
    logits, target = outcome(seed)
    judged = task().judge({"logits": logits}, {"labels": target, "index": torch.arange(len(target))})
    return judged, logits.sigmoid().numpy(), target.numpy().astype(int)


@pytest.mark.parametrize("seed", range(4))
def test_every_number_is_scikit_learns(seed: int) -> None:
    judged, scores, target = rows(seed)
    found, predicted = task().summary(judged), (scores >= 0.5).astype(int)
    there = np.asarray(target.any(axis=0))
    assert not there[3]
    expected = {
        "loss": metrics.log_loss(target.ravel(), scores.ravel(), labels=[0, 1]),
        "map": metrics.average_precision_score(target[:, there], scores[:, there], average="macro"),
        "f1": metrics.f1_score(target[:, there], predicted[:, there], average="macro"),
        "f1_micro": metrics.f1_score(target, predicted, average="micro"),
        "exact": metrics.accuracy_score(target, predicted),
        "hamming": metrics.hamming_loss(target, predicted),
    }
    assert found == pytest.approx(expected, abs=1e-6)


def test_rows_and_predictions_name_the_classes() -> None:
    logits = torch.tensor([[3.0, -3.0, 2.0, -9.0], [-1.0, -1.0, -1.0, -1.0]])
    judged = task().judge({"logits": logits}, {"labels": torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 0]]), "index": torch.arange(2)})
    assert [(row["present"], row["predicted"]) for row in judged] == [("猫 | 狗", "猫 | 车"), ("", "")]
    first, second = task().decode({"logits": logits})
    assert first["labels"] == ["猫", "车"] and [t["label"] for t in first["top"]] == ["猫", "车", "狗", "树"] and second["labels"] == []


def test_factors_must_be_one_a_class() -> None:
    weighed = task({"name": "binary_cross_entropy", "pos_weight": [1, 2, 3, 4]})
    assert weighed.loss_arguments["pos_weight"].tolist() == [1, 2, 3, 4]
    with pytest.raises(ValueError, match="pos_weight: expected a list of 4"):
        task({"name": "binary_cross_entropy", "pos_weight": [1, 2]})
    with pytest.raises(ValueError, match="clip: expected"):
        MultiLabel.try_loss("asymmetric", {"clip": 2})
