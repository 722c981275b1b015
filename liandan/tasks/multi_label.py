"""Multi-label classification: one image, any number of K classes, each judged by itself."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liandan.tasks import losses
from liandan.tasks.task import Batch, Logs, Row, Sums, Task

_PRESENT = 0.5  # probability from which a class is said to be there


class MultiLabel(Task):
    kind = "images"
    inputs = ("image",)
    metrics = ("loss", "map", "f1", "f1_micro", "exact", "hamming")
    best = ("val/map", "max")
    targets = "several"
    losses: ClassVar = {
        "binary_cross_entropy": losses.binary_cross_entropy,
        "focal": losses.binary_focal,
        "asymmetric": losses.asymmetric,
    }

    def __init__(self, loss: Mapping[str, Any] | None, labels: Any, data: Mapping[str, Any]) -> None:
        super().__init__(loss, labels, data)
        given = self.loss_arguments.get("pos_weight")
        if given is not None:
            self.loss_arguments["pos_weight"] = losses.per_class("pos_weight", given, torch.zeros(1, len(self.labels or given)))

    @classmethod
    def try_loss(cls, name: str, arguments: Mapping[str, Any]) -> None:
        weights = arguments.get("pos_weight")
        classes = len(weights) if isinstance(weights, list) else 2
        cls.losses[name](torch.zeros(1, classes), torch.zeros(1, classes), **arguments)

    def model_arguments(self) -> dict[str, Any]:
        return {"num_classes": len(self.labels or ()), "in_chans": self.data["in_chans"], "size": self.data["size"]}

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Sums, Logs]:
        """Over float (batch, classes) targets in 0..1: 1 where a class is there, between the two where samples are mixed."""
        logits = model(batch["image"])
        wide = logits if logits.dtype == torch.float64 else logits.float()
        total = self.losses[self.loss_name](wide, batch["labels"], **self.loss_arguments).sum()
        right = ((logits.detach() > 0) == (batch["labels"] >= _PRESENT)).sum()
        return {"loss": total}, {"accuracy": (right, logits.numel())}

    def forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": model(inputs["image"])}

    def judge(self, outputs: dict[str, Tensor], batch: Batch) -> list[Row]:
        logits, target = outputs["logits"].double(), batch["labels"].double()
        cost = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)
        columns = zip(*(c.tolist() for c in (batch["index"], target.long(), logits.sigmoid(), cost)), strict=True)
        return [
            {
                "index": index,
                "present": self.named(own),
                "predicted": self.named(int(p >= _PRESENT) for p in scores),
                "loss": loss,
                "labels": own,
                "scores": scores,
            }
            for index, own, scores, loss in columns
        ]

    def named(self, there: Any) -> str:
        """The names of the classes that are there, 0 or 1 each, as one text."""
        return " | ".join(name for name, flag in zip(self.labels or (), there, strict=True) if flag)

    def summary(self, rows: list[Row]) -> dict[str, float]:
        """map and f1 are means over the classes that occur, f1_micro is over all decisions; exact: all classes of an image are right;
        hamming: part of the decisions that are wrong. Definitions are scikit-learn's, with zero_division=0."""
        from torchmetrics.functional.classification import multilabel_average_precision, multilabel_f1_score

        scores = torch.tensor([row["scores"] for row in rows], dtype=torch.float64)
        target = torch.tensor([row["labels"] for row in rows])
        predicted, classes, occurs = (scores >= _PRESENT).long(), scores.shape[1], target.any(0)
        with warnings.catch_warnings():  # of classes that do not occur, which are left out below
            warnings.simplefilter("ignore", UserWarning)
            precision = multilabel_average_precision(scores, target, classes, average="none")
        f1 = multilabel_f1_score(predicted, target, classes, average="none")
        wrong = (predicted != target).double()
        return {
            "loss": sum(row["loss"] for row in rows) / len(rows),
            "map": float(precision[occurs].double().mean()) if occurs.any() else 0.0,
            "f1": float(f1[occurs].double().mean()) if occurs.any() else 0.0,
            "f1_micro": float(multilabel_f1_score(predicted, target, classes, average="micro")),
            "exact": float((wrong.sum(1) == 0).double().mean()),
            "hamming": float(wrong.mean()),
        }

    def decode(self, outputs: dict[str, Tensor]) -> list[dict[str, Any]]:
        """`labels`: the classes that are there; `top`: all, the most probable first."""
        names, found = self.labels or [], []
        for scores in outputs["logits"].float().sigmoid().tolist():
            top = sorted(zip(names, scores, strict=True), key=lambda pair: -pair[1])
            there = [name for name, score in top if score >= _PRESENT]
            found.append({"labels": there, "top": [{"label": name, "confidence": score} for name, score in top]})
        return found

    def example_inputs(self, model: nn.Module) -> dict[str, Tensor]:
        return {"image": torch.zeros(2, self.data["in_chans"], *self.data["size"])}
