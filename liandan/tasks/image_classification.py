"""Image classification: one image, one of K classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from liandan.data.errors import DataError, Unreadable
from liandan.data.readers import detect_format, read
from liandan.tasks import class_figures, losses, metrics, named_metrics
from liandan.tasks.task import Batch, Findings, Logs, Row, Sums, Task

_SHORT_SIDE_OF_SMALL = 64  # pixels: below this a picture is a symbol, not a photograph
_STEPS = 800  # a plain-data run is about this long
_TRIES = 100  # images opened in search of a readable one
_CANDIDATES = ("timm/mobilenetv3_large_100", "timm/resnet18", "timm/tf_efficientnet_lite0")  # to fine-tune, the best first
_FROM_SCRATCH = "timm/resnet18"


def _shape(source: Any) -> tuple[int, int]:
    """(height, width) of the first image that can be read; raises the first one's Unreadable when none of many can."""
    reasons = []
    for i in range(min(len(source), _TRIES)):
        try:
            return source.image(i).shape[-2:]
        except Unreadable as error:
            reasons.append(error)
    raise reasons[0]


def of_labels(batch: Batch, value: Callable[[Tensor], Tensor]) -> Tensor:
    """`value` of each sample's label, float (batch,); of a sample mixed of two, of both labels by their shares (see data.mixing)."""
    own = value(batch["label"])
    return own if "other" not in batch else batch["share"] * own + (1 - batch["share"]) * value(batch["other"])


class ImageClassification(Task):
    kind = "images"
    inputs = ("image",)
    metrics = ("loss", "accuracy", "top5", "precision", "recall", "f1")
    best = ("val/accuracy", "max")
    views: ClassVar = {"hflip": lambda image: image.flip(-1), "vflip": lambda image: image.flip(-2)}
    targets = "one"
    losses: ClassVar = {
        "cross_entropy": losses.cross_entropy,
        "focal": losses.focal,
        "binary_cross_entropy": losses.one_against_all,
        "distillation": losses.distillation,
    }

    def __init__(self, loss: Mapping[str, Any] | None, labels: Sequence[str] | None, data: Mapping[str, Any]) -> None:
        super().__init__(loss, labels, data)
        self.class_weights = self._class_weights(self.loss_arguments.get("class_weights"))

    @classmethod
    def try_loss(cls, name: str, arguments: Mapping[str, Any]) -> None:
        weights = arguments.get("class_weights")
        classes = len(weights) if isinstance(weights, list) else 2
        tried = cls({"name": name, **arguments}, [str(k) for k in range(classes)], {"class_counts": [1] * classes})
        logits = torch.zeros(1, classes)
        tried.each(logits, torch.zeros(1, dtype=torch.int64), logits if name == "distillation" else None)

    def _class_weights(self, given: Any) -> Tensor | None:
        """float (classes,); `balanced` gives every class the same weight in all: samples / (classes * samples of the class)."""
        if given == "balanced" and "class_counts" in self.data:
            counts = torch.tensor(self.data["class_counts"], dtype=torch.float64)
            there = counts > 0
            return torch.where(there, counts.sum() / (there.sum() * counts.clamp(min=1)), 0.0)
        if given == "balanced" or given is None:  # a run that is opened to judge and to predict has no loss to weigh
            return None
        return losses.per_class("class_weights", given, torch.zeros(1, len(self.labels or given)))

    @classmethod
    def recognize(cls, path: Path, has_weights: Callable[[str], bool], model: str | None) -> dict[str, Any] | None:
        try:
            format = detect_format(path)
            if format not in ("class_folders", "idx", "annotations", "table"):
                return None
            source = read(path, format)
        except DataError:
            if path.suffix.lower() == ".txt":  # a list of images, with faults that say more than "not recognized"
                raise
            return None
        n, classes = len(source), len(source.labels)
        height, width = _shape(source)
        if min(height, width) < _SHORT_SIDE_OF_SMALL:
            network, optimizer = {"name": "liandan/lenet5", "norm": True}, {"name": "adamw", "lr": 3e-3, "weight_decay": 0.01}
            batch_size = 64
        else:
            name = next((n for n in _CANDIDATES if has_weights(n)), None)  # no download unasked
            weights = "pretrained" if name else "none"
            network = {"name": name or _FROM_SCRATCH, "weights": weights}
            # fine-tuning moves little; from scratch a larger rate is safe with warm-up
            optimizer = {"name": "adamw", "lr": 3e-4 if weights != "none" else 1e-3, "weight_decay": 0.05}
            batch_size = 32
        batch_size = max(2, min(batch_size, n // max(classes, 4)))
        epochs = max(5, min(60, round(_STEPS * batch_size / n)))
        return {
            "data": {"train": str(path), "val": {"hold_out": 0.2, "stratify": True}},
            "model": network,
            "loss": {"name": "cross_entropy", "label_smoothing": 0.1},
            "optimizer": optimizer,
            "schedule": {"name": "cosine", "warmup": {"epochs": 1}},
            "train": {"duration": {"epochs": epochs}, "batch_size": batch_size},
            "evaluate": {"every": {"epochs": max(1, epochs // 12)}},
            "checkpoint": {"every": {"epochs": max(1, epochs // 12)}},
        }

    def model_arguments(self) -> dict[str, Any]:
        return {"num_classes": len(self.labels or ()), "in_chans": self.data["in_chans"], "size": self.data["size"]}

    def taught_by(self) -> dict[str, str]:
        return {"loss.teacher": self.loss_arguments["teacher"]} if self.loss_name == "distillation" else {}

    def prepare(self, model: nn.Module, batch: Batch) -> Batch:
        """While the model learns, what its teacher thinks of the same images, mixed and augmented as they are."""
        return {**batch, "taught": self.teachers["loss.teacher"](batch["image"])} if self.teachers and model.training else batch

    def count(self, batch: Batch) -> dict[str, float]:
        """Samples, or with class weights the sum of their labels' weights, as torch divides a weighted mean."""
        if self.class_weights is None:
            return {"loss": len(batch["index"])}
        weights = self.class_weights.to(batch["label"].device)
        return {"loss": float(of_labels(batch, lambda label: weights[label]).sum())}

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Sums, Logs]:
        logits = self.forward(model, batch)["logits"]
        wide = logits if logits.dtype == torch.float64 else logits.float()
        total = of_labels(batch, lambda label: self.each(wide, label, batch.get("taught"))).sum()
        predicted = logits.detach().argmax(1)
        right = of_labels(batch, lambda label: (predicted == label).float()).sum()
        return {"loss": total}, {"accuracy": (right, len(logits))}

    def each(self, logits: Tensor, label: Tensor, taught: Tensor | None = None) -> Tensor:
        """The recipe's loss, one value a sample: float (batch, classes), int64 (batch,) -> float (batch,); `taught`: a teacher's logits."""
        arguments = dict(self.loss_arguments)
        if self.class_weights is not None:
            arguments["class_weights"] = self.class_weights
        return self.losses[self.loss_name](logits, label, *(() if taught is None else (taught,)), **arguments)

    def forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": model(inputs["image"])}

    def answer(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """With evaluate.tta the logits are the logarithm of the mean probability over the image and its views."""
        outputs = super().answer(model, batch)
        if not self.tta:
            return outputs
        looks = [self.forward(model, {"image": self.views[name](batch["image"])}) for name in self.tta]
        return {"logits": torch.stack([look["logits"].double().softmax(1) for look in (outputs, *looks)]).mean(0).log()}

    def judge(self, outputs: dict[str, Tensor], batch: Batch) -> list[Row]:
        """Rows of index, label, prediction, confidence (of the prediction), loss, rank (of the true class), and probabilities of all
        classes where there are at most `named_metrics.MOST_CLASSES`."""
        log_p = outputs["logits"].double().log_softmax(1)
        confidence, predicted = log_p.max(1)
        own = log_p.gather(1, batch["label"][:, None])[:, 0]
        rank = (log_p > own[:, None]).sum(1)  # classes thought more probable than the true one
        columns = {
            "index": batch["index"], "label": batch["label"], "prediction": predicted, "confidence": confidence.exp(),
            "loss": -own, "rank": rank,
        }  # fmt: skip
        if log_p.shape[1] <= named_metrics.MOST_CLASSES:
            columns["probabilities"] = log_p.exp()
        return [dict(zip(columns, row, strict=True)) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]

    @classmethod
    def knows(cls, metric: str) -> bool:
        return named_metrics.parse(metric) is not None

    @classmethod
    def known_metrics(cls) -> tuple[Sequence[str], str]:
        return named_metrics.KNOWN, named_metrics.IN_WORDS

    def ask(self, metrics: Sequence[str], tta: Sequence[str] = ()) -> list[str]:
        super().ask(named_metrics.expand(metrics, self.labels or []), tta)
        return named_metrics.faults(self.asked, self.labels or [])

    def notices(self) -> list[str]:
        return named_metrics.notices(self.asked, self.labels or [])

    def summary(self, rows: list[Row]) -> dict[str, float]:
        table = named_metrics.Table.of(rows, self.labels or [])
        return {metric.name: table.measure(metric) for metric in filter(None, map(named_metrics.parse, self.asked))}

    def findings(self, rows: list[Row]) -> Findings:
        """Confusion, calibration and curves; a line a class; wrong answers, the most confident first."""
        labels = self.labels or []
        table = named_metrics.Table.of(rows, labels)
        matrix = metrics.confusion_matrix([r["label"] for r in rows], [r["prediction"] for r in rows], len(labels))
        confusion = [{"true": own, **dict(zip(labels, line, strict=True))} for own, line in zip(labels, matrix.tolist(), strict=True)]
        wrong = sorted((r for r in rows if r["prediction"] != r["label"]), key=lambda r: (-r["confidence"], r["index"]))
        mistakes = [
            {"index": r["index"], "true": labels[r["label"]], "predicted": labels[r["prediction"]], "confidence": r["confidence"]}
            for r in wrong
        ]
        return Findings(class_figures.figures(table), {"classes": table.per_class(), "confusion": confusion}, mistakes)

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
