"""Mixup and CutMix, one sample at a time: the partner is another sample of the split, chosen by the sample's own key.

Libraries mix each sample with its neighbor in the batch, which makes it depend on how the batch was put together. Here everything is
a function of the key: the partner, its own noise, the share, the box. The target becomes two labels and the first one's share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from liandan.data.errors import Unreadable
from liandan.randomness import mix

Image = torch.Tensor

_MIXING, _PARTNER = 6, 7  # uses of a sample's key
_TRIES = 100  # readable partners looked for


@dataclass(frozen=True)
class Mixing:
    """How training samples are mixed.

    Attributes:
        mixup: alpha of the share's Beta(alpha, alpha) where two images are blended (Zhang et al., "mixup", 2018); None for never.
        cutmix: the same where a box of one image lies in the other (Yun et al., "CutMix", 2019); None for never. With both, each half
            of the time.
        probability: of a sample to be mixed.
    """

    mixup: float | None = None
    cutmix: float | None = None
    probability: float = 1.0

    @classmethod
    def of(cls, values: Mapping[str, Any] | None) -> Mixing | None:
        """The mixing of a recipe's or preprocessing.json's values; None where nothing is ever mixed."""
        made = cls(**values) if values else cls()
        return made if made.probability > 0 and (made.mixup or made.cutmix) else None

    def apply(self, image: Image, index: int, key: int, n: int, other: Callable[[int, int], Image]) -> tuple[Image, int, float]:
        """A sample's image mixed with that of another of the `n` samples.

        Args:
            image: (C, H, W), uint8 or float.
            index, key: of the sample.
            other: (index, key) -> the image of another sample, augmented by that key; raises Unreadable.

        Returns:
            (image, index of the partner, share of the first image in 0..1): the sample itself and 1.0 where it is not mixed.
        """
        draw = np.random.default_rng(mix(key, _MIXING))
        mixed, blended, place = draw.random() < self.probability, draw.random() < 0.5, draw.random(2)
        if not mixed:
            return image, index, 1.0
        blended = self.cutmix is None or (self.mixup is not None and blended)
        alpha = (self.mixup if blended else self.cutmix) or 0.0
        share = float(draw.beta(alpha, alpha))
        partner, second = self._partner(key, n, other)
        if blended:
            return blend(image, second, share), partner, share
        height, width = image.shape[-2:]
        box = cut_box(share, height, width, place)
        return paste(image, second, box), partner, kept(box, height, width)

    @staticmethod
    def _partner(key: int, n: int, other: Callable[[int, int], Image]) -> tuple[int, Image]:
        for attempt in range(_TRIES):
            partner = mix(key, _PARTNER, attempt) % n
            try:
                return partner, other(partner, mix(key, _PARTNER, attempt, 1))
            except Unreadable:  # it is counted when its own turn comes
                continue
        raise Unreadable("a partner for mixing", f"none of {_TRIES} samples tried can be read")


def blend(first: Image, second: Image, share: float) -> Image:
    """share * first + (1 - share) * second, rounded where images are uint8."""
    mean = torch.lerp(second.float(), first.float(), share)
    return mean.round_().to(first.dtype) if not first.is_floating_point() else mean


def cut_box(share: float, height: int, width: int, place: np.ndarray) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of a box of (1 - share) of the area around `place` (two of 0..1), cut off at the borders; equation 2."""
    side = (1 - share) ** 0.5 / 2
    y, x = int(place[0] * height), int(place[1] * width)
    dy, dx = int(side * height), int(side * width)
    return max(0, y - dy), max(0, x - dx), min(height, y + dy), min(width, x + dx)


def paste(first: Image, second: Image, box: tuple[int, int, int, int]) -> Image:
    """`first` with the box of `second`."""
    top, left, bottom, right = box
    out = first.clone()
    out[..., top:bottom, left:right] = second[..., top:bottom, left:right]
    return out


def kept(box: tuple[int, int, int, int], height: int, width: int) -> float:
    """The part of the area outside of the box."""
    top, left, bottom, right = box
    return 1 - (bottom - top) * (right - left) / (height * width)
