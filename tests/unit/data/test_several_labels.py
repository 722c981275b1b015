"""Images with any number of classes: targets are flags, and mix with the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liandan.data.image_files import ImageFiles
from liandan.data.image_pipeline import ImagePipeline
from liandan.data.readers import read


@dataclass(frozen=True)
class Several(ImageFiles):
    """Digits of which 3, 5 and 8 are round as well as themselves."""

    multi_label: bool = True

    def target(self, i: int) -> Any:
        assert self.targets is not None
        own = int(self.targets[i])
        return [own, 10] if own in (3, 5, 8) else [own]


def test_targets_are_flags_and_mix_with_the_pixels(digit_folders: Path) -> None:
    plain = read(digit_folders)
    source: Any = Several(plain.path, plain.format, plain.files, plain.sizes, plain.targets, [*plain.labels, "round"])
    for mix in (None, {"mixup": 1.0}):
        transforms = {"train": ["grayscale"], "eval": ["grayscale"], "mix": mix}
        pipeline = ImagePipeline.fit(source, transforms=transforms, defaults={"size": 8, "channels": 1})
        samples, at = pipeline.samples(source, training=True), np.arange(len(source))
        batch = samples.batch(at, at + 5)
        assert batch["labels"].shape == (60, 11) and batch["labels"].dtype == torch.float32 and "label" not in batch
        total = batch["labels"][:, :10].sum(1)
        torch.testing.assert_close(total, torch.ones(60))
        if mix is None:
            assert batch["labels"][:, 10].nonzero()[:, 0].tolist() == [i for i in at if plain.targets[i] in (3, 5, 8)]
            assert samples.batch(at, at)["labels"].equal(batch["labels"])  # the second time from memory
        else:
            assert ((batch["labels"] > 0.01) & (batch["labels"] < 0.99)).any() and "share" not in batch
