"""Image classification: one image, one of K classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liandan.data.errors import DataError, Unreadable
from liandan.data.readers import read
from liandan.tasks import metrics
from liandan.tasks.task import Batch, Logs, Row, Sums, Task

_SHORT_SIDE_OF_SMALL = 64  # pixels: below this a picture is a symbol, not a photograph
_STEPS = 800  # a plain-data run is about this long
_TRIES = 100  # images opened in search of a readable one
_CANDIDATES = ("timm/mobilenetv3_large_100", "timm/resnet18", "timm/tf_efficientnet_lite0")  # to fine-tune, the best first
_FROM_SCRATCH = "timm/resnet18"


def cross_entropy(logits: Tensor, target: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Sum over the batch of the cross entropy, a scalar; logits float (batch, classes), target int64 (batch,)."""
    return F.cross_entropy(logits, target, label_smoothing=label_smoothing, reduction="sum")


def _shape(source: Any) -> tuple[int, int]:
    """(height, width) of the first image that can be read; raises the first one's Unreadable when none of many can."""
    reasons = []
    for i in range(min(len(source), _TRIES)):
        try:
            return source.image(i).shape[-2:]
        except Unreadable as error:
            reasons.append(error)
    raise reasons[0]


class ImageClassification(Task):
    kind = "images"
    inputs = ("image",)
    metrics = ("loss", "accuracy", "top5", "precision", "recall", "f1")
    best = ("val/accuracy", "max")
    losses: ClassVar = {"cross_entropy": cross_entropy}

    @classmethod
    def recognize(cls, path: Path, has_weights: Callable[[str], bool], model: str | None) -> dict[str, Any] | None:
        if not path.is_dir():
            return None
        try:
            source = read(path)
        except DataError:
            return None
        if getattr(source, "labels", None) is None:
            return None
        n, classes = len(source), len(source.labels)
        height, width = _shape(source)
        if min(height, width) < _SHORT_SIDE_OF_SMALL:
            model, optimizer = {"name": "liandan/lenet5", "norm": True}, {"name": "adamw", "lr": 3e-3, "weight_decay": 0.01}
            batch_size = 64
        else:
            name = next((n for n in _CANDIDATES if has_weights(n)), None)  # no download unasked
            weights = "pretrained" if name else "none"
            model = {"name": name or _FROM_SCRATCH, "weights": weights}
            # fine-tuning moves little; from scratch a larger rate is safe with warm-up
            optimizer = {"name": "adamw", "lr": 3e-4 if weights != "none" else 1e-3, "weight_decay": 0.05}
            batch_size = 32
        batch_size = max(2, min(batch_size, n // max(classes, 4)))
        epochs = max(5, min(60, round(_STEPS * batch_size / n)))
        return {
            "data": {"train": str(path), "val": {"hold_out": 0.2, "stratify": True}},
            "model": model,
            "loss": {"name": "cross_entropy", "label_smoothing": 0.1},
            "optimizer": optimizer,
            "schedule": {"name": "cosine", "warmup": {"epochs": 1}},
            "train": {"duration": {"epochs": epochs}, "batch_size": batch_size},
            "evaluate": {"every": {"epochs": max(1, epochs // 12)}},
            "checkpoint": {"every": {"epochs": max(1, epochs // 12)}},
        }

    def model_arguments(self) -> dict[str, Any]:
        return {"num_classes": len(self.labels or ()), "in_chans": self.data["in_chans"]}

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Sums, Logs]:
        logits = self.forward(model, batch)["logits"]
        total = self.losses[self.loss_name](
            logits.float() if logits.dtype != torch.float64 else logits, batch["label"], **self.loss_arguments
        )
        right = (logits.detach().argmax(1) == batch["label"]).sum()
        return {"loss": total}, {"accuracy": (right, len(logits))}

    def forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": model(inputs["image"])}

    def judge(self, outputs: dict[str, Tensor], batch: Batch) -> list[Row]:
        log_p = outputs["logits"].double().log_softmax(1)
        confidence, predicted = log_p.max(1)
        own = log_p.gather(1, batch["label"][:, None])[:, 0]
        rank = (log_p > own[:, None]).sum(1)  # classes thought more probable than the true one
        columns = zip(*(c.tolist() for c in (batch["index"], batch["label"], predicted, confidence.exp(), -own, rank)), strict=True)
        return [dict(zip(("index", "label", "prediction", "confidence", "loss", "rank"), row, strict=True)) for row in columns]

    def summary(self, rows: list[Row]) -> dict[str, float]:
        label, predicted = [r["label"] for r in rows], [r["prediction"] for r in rows]
        classes = len(self.labels or ())
        top5 = sum(r["rank"] < min(5, classes) for r in rows) / len(rows)
        return {"loss": sum(r["loss"] for r in rows) / len(rows), **metrics.classification(label, predicted, classes), "top5": top5}

    def figures(self, rows: list[Row]) -> dict[str, dict[str, Any]]:
        labels = self.labels or []
        matrix = metrics.confusion_matrix([r["label"] for r in rows], [r["prediction"] for r in rows], len(labels))
        return {
            "confusion": {
                "kind": "matrix",
                "values": matrix.tolist(),
                "labels": labels,
                "title": "confusion",
                "x": "predicted",
                "y": "true",
            }
        }

    def decode(self, outputs: dict[str, Tensor]) -> list[dict[str, Any]]:
        probabilities = outputs["logits"].float().softmax(1)
        values, indices = probabilities.topk(min(5, probabilities.shape[1]), dim=1)
        labels = self.labels or []
        return [
            {"label": labels[i[0]], "confidence": v[0], "top": [{"label": labels[j], "confidence": p} for j, p in zip(i, v, strict=True)]}
            for v, i in zip(values.tolist(), indices.tolist(), strict=True)
        ]

    def example_inputs(self, model: nn.Module) -> dict[str, Tensor]:
        return {"image": torch.zeros(2, self.data["in_chans"], *self.data["size"])}
