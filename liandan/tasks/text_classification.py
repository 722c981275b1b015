"""Text classification: one text, one of K classes. Costs and judgements are those of images; what is read is a text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from liandan.data.labeled_text import read_labeled_text
from liandan.data.readers import detect_format
from liandan.data.rows import SUFFIXES
from liandan.tasks.image_classification import ImageClassification

_STEPS = 800  # a plain-data run is about this long


class TextClassification(ImageClassification):
    kind = "labeled_text"
    inputs = ("ids", "mask")
    views: ClassVar = {}
    # a teacher sees images
    losses: ClassVar = {name: loss for name, loss in ImageClassification.losses.items() if name != "distillation"}

    @classmethod
    def recognize(cls, path: Path, has_weights: Callable[[str], bool], model: str | None) -> dict[str, Any] | None:
        if not (path.is_file() and path.suffix.lower() in SUFFIXES and detect_format(path) == "labeled_text"):
            return None
        source = read_labeled_text(path)
        if model and model.startswith("hf/"):  # it knows the language already: small changes teach it the classes
            text = {"tokenizer": "auto", "context": 128}
            asked = {"name": model, "weights": "pretrained"}
            optimizer = {"name": "adamw", "lr": 5e-5, "weight_decay": 0.01}
        else:
            text = {"tokenizer": "bpe", "vocab_size": 8192, "context": 128}
            asked = {"name": "liandan/text_encoder", "n_layer": 2, "n_head": 4, "width": 128, "dropout": 0.3}
            optimizer = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.1}
        batch_size = max(2, min(32, len(source) // max(len(source.labels), 4)))
        epochs = max(3, min(20, round(_STEPS * batch_size / len(source))))
        return {
            "data": {"train": str(path), "val": {"hold_out": 0.2, "stratify": True}, "text": text},
            "model": asked,
            "loss": {"name": "cross_entropy", "label_smoothing": 0.1},
            "optimizer": optimizer,
            "schedule": {"name": "cosine", "warmup": {"epochs": 0.2}},
            "train": {"duration": {"epochs": epochs}, "batch_size": batch_size, "clip_norm": 1.0},
            "evaluate": {"every": {"epochs": 1}},
            "checkpoint": {"every": {"epochs": 1}},
        }

    def model_arguments(self) -> dict[str, Any]:
        return {"num_classes": len(self.labels or ()), "vocab_size": self.data["vocab_size"], "context": self.data["context"]}

    def forward(self, model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": model(inputs["ids"], inputs["mask"])}

    def example_inputs(self, model: nn.Module) -> dict[str, Tensor]:
        shape = (2, self.data["context"])
        return {"ids": torch.zeros(shape, dtype=torch.int64), "mask": torch.ones(shape, dtype=torch.bool)}
