"""Several heads: torch's cross entropy and scikit-learn's accuracy of each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, log_loss
from torch import nn

from liandan.tasks.multi_head import MultiHead

HEADS = {"种类": ["花岗岩", "玄武岩", "石灰岩"], "grain": ["fine", "coarse"]}


def task(**loss: Any) -> MultiHead:
    return MultiHead({"name": "cross_entropy", **loss}, HEADS, {"in_chans": 1, "size": [8, 8]})


def outcome(n: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(2)
    labels = torch.stack([torch.randint(3, (n,), generator=draw), torch.randint(2, (n,), generator=draw)], 1)
    return torch.randn(n, 5, generator=draw, dtype=torch.float64) * 2, labels


def test_the_loss_is_the_mean_over_heads_of_torchs_also_where_samples_are_mixed() -> None:
    logits, labels = outcome()
    share, other = torch.linspace(0, 1, 50, dtype=torch.float64), labels.flip(0)
    model = nn.Sequential(nn.Flatten(), nn.Identity())
    batch = {"image": logits.view(50, 5, 1, 1), "labels": labels, "index": torch.arange(50)}
    plain = sum(F.cross_entropy(logits[:, a:b], labels[:, h], label_smoothing=0.1) for h, (a, b) in enumerate([(0, 3), (3, 5)])) / 2
    found, logs = task(label_smoothing=0.1).loss(model, batch)
    assert float(found["loss"]) / 50 == pytest.approx(float(plain), rel=1e-12) and logs["accuracy"][1] == 100
    mixed = 0.0
    for h, (a, b) in enumerate([(0, 3), (3, 5)]):
        soft = share[:, None] * F.one_hot(labels[:, h], b - a) + (1 - share[:, None]) * F.one_hot(other[:, h], b - a)
        mixed += float(F.cross_entropy(logits[:, a:b], soft)) / 2
    found, _ = task().loss(model, {**batch, "other": other, "share": share})
    assert float(found["loss"]) / 50 == pytest.approx(mixed, rel=1e-12)


def test_every_number_is_scikit_learns() -> None:
    logits, labels = outcome()
    rows = task().judge({"logits": logits}, {"labels": labels, "index": torch.arange(50)})
    p = [logits[:, :3].softmax(1), logits[:, 3:].softmax(1)]
    each = [accuracy_score(labels[:, h], p[h].argmax(1)) for h in (0, 1)]
    both = [tuple(row) for row in labels.tolist()], [tuple(row) for row in torch.stack([q.argmax(1) for q in p], 1).tolist()]
    assert task().summary(rows) == pytest.approx(
        {
            "loss": sum(log_loss(labels[:, h], p[h].numpy(), labels=list(range(p[h].shape[1]))) for h in (0, 1)) / 2,
            "accuracy": sum(each) / 2,
            "exact": sum(a == b for a, b in zip(*both, strict=True)) / 50,
            "worst": min(each),
        }
    )


def test_predictions_name_the_head_and_its_class() -> None:
    logits = torch.tensor([[0.0, 4.0, 0.0, 3.0, 0.0]])
    (found,) = task().decode({"logits": logits})
    assert found["labels"] == {"种类": "玄武岩", "grain": "fine"} and found["confidence"]["grain"] == pytest.approx(0.9526, abs=1e-4)
    (row,) = task().judge({"logits": logits}, {"labels": torch.tensor([[0, 0]]), "index": torch.tensor([7])})
    assert row["expected"] == "种类=花岗岩 | grain=fine" and row["predicted"] == "种类=玄武岩 | grain=fine"
    assert task().model_arguments() == {"num_classes": 5, "in_chans": 1, "size": [8, 8]}
