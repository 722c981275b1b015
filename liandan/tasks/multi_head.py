"""Several classifications of one image: one class of each head, such as a rock's kind and its grain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from liandan.tasks import losses
from liandan.tasks.image_classification import of_labels
from liandan.tasks.task import Batch, Logs, Row, Sums, Task


class MultiHead(Task):
    """The model's outputs are the heads' logits side by side, in the order of labels.json."""

    kind = "images"
    inputs = ("image",)
    metrics = ("loss", "accuracy", "exact", "worst")
    best = ("val/accuracy", "max")
    targets = "heads"
    losses: ClassVar = {"cross_entropy": losses.cross_entropy, "focal": losses.focal}

    def __init__(self, loss: Mapping[str, Any] | None, labels: Any, data: Mapping[str, Any]) -> None:
        super().__init__(loss, None, data)
        self.heads: dict[str, list[str]] = {name: list(names) for name, names in (labels or {}).items()}
        self.labels: Any = self.heads

    @classmethod
    def try_loss(cls, name: str, arguments: Mapping[str, Any]) -> None:
        if arguments.get("class_weights") is not None:
            raise ValueError("class_weights: expected none, for each head has classes of its own")
        cls.losses[name](torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), **arguments)

    def model_arguments(self) -> dict[str, Any]:
        return {"num_classes": sum(map(len, self.heads.values())), "in_chans": self.data["in_chans"], "size": self.data["size"]}

    def split_heads(self, logits: Tensor) -> Iterator[tuple[int, Tensor]]:
        """(number of the head, its logits) of float (batch, all classes)."""
        return enumerate(logits.split([len(names) for names in self.heads.values()], dim=1))

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Sums, Logs]:
        """The mean over heads; labels int64 (batch, heads)."""
        logits = model(batch["image"])
        wide = logits if logits.dtype == torch.float64 else logits.float()
        value, right = self.losses[self.loss_name], torch.zeros((), dtype=wide.dtype, device=wide.device)
        total = torch.zeros((), dtype=wide.dtype, device=wide.device)
        for h, part in self.split_heads(wide):
            one = {**batch, "label": batch["labels"][:, h]} | ({"other": batch["other"][:, h]} if "other" in batch else {})
            total = total + of_labels(one, lambda label, part=part: value(part, label, **self.loss_arguments)).sum()
            predicted = part.detach().argmax(1)
            right = right + of_labels(one, lambda label, predicted=predicted: (predicted == label).to(wide.dtype)).sum()
        return {"loss": total / len(self.heads)}, {"accuracy": (right, len(logits) * len(self.heads))}

    def forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": model(inputs["image"])}

    def judge(self, outputs: dict[str, Tensor], batch: Batch) -> list[Row]:
        parts = [part.double().log_softmax(1) for _, part in self.split_heads(outputs["logits"])]
        predicted = torch.stack([part.argmax(1) for part in parts], 1).tolist()
        cost = -torch.stack([part.gather(1, batch["labels"][:, h, None])[:, 0] for h, part in enumerate(parts)], 1).mean(1)
        columns = zip(batch["index"].tolist(), batch["labels"].tolist(), predicted, cost.tolist(), strict=True)
        return [
            {"index": i, "expected": self.named(own), "predicted": self.named(found), "loss": loss, "labels": own, "predictions": found}
            for i, own, found, loss in columns
        ]

    def named(self, classes: list[int]) -> str:
        """`kind=granite | grain=fine`."""
        return " | ".join(f"{head}={names[k]}" for (head, names), k in zip(self.heads.items(), classes, strict=True))

    def summary(self, rows: list[Row]) -> dict[str, float]:
        """accuracy is the mean over heads, worst the lowest of them; exact: all heads of an image are right."""
        right = torch.tensor([row["labels"] for row in rows]) == torch.tensor([row["predictions"] for row in rows])
        each = right.double().mean(0)
        return {
            "loss": sum(row["loss"] for row in rows) / len(rows),
            "accuracy": float(each.mean()),
            "exact": float(right.all(1).double().mean()),
            "worst": float(each.min()),
        }

    def decode(self, outputs: dict[str, Tensor]) -> list[dict[str, Any]]:
        """`labels` and `confidence`, {head: value} each."""
        best = [part.float().softmax(1).max(1) for _, part in self.split_heads(outputs["logits"])]
        classes, sure = torch.stack([top.indices for top in best], 1).tolist(), torch.stack([top.values for top in best], 1).tolist()
        return [
            {
                "labels": {head: names[k] for (head, names), k in zip(self.heads.items(), own, strict=True)},
                "confidence": dict(zip(self.heads, confidence, strict=True)),
            }
            for own, confidence in zip(classes, sure, strict=True)
        ]

    def example_inputs(self, model: nn.Module) -> dict[str, Tensor]:
        return {"image": torch.zeros(2, self.data["in_chans"], *self.data["size"])}
