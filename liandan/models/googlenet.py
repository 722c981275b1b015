"""GoogLeNet: Szegedy et al., "Going deeper with convolutions" (2014), table 1, without its auxiliary classifiers.

In the form of Zhang, Lipton, Li and Smola, "Dive into Deep Learning", section 8.4: no local response normalization, no dropout,
weights from Glorot and Bengio (2010). With the defaults it has 5,977,530 parameters.
"""

from __future__ import annotations

import torch
from torch import nn


class Inception(nn.Module):
    """Four views of a map side by side: 1x1; 1x1 and 3x3; 1x1 and 5x5; pooling and 1x1. Channels are those of the paper's table."""

    def __init__(self, inputs: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(inputs, one, 1), nn.ReLU())
        self.three = nn.Sequential(nn.Conv2d(inputs, three[0], 1), nn.ReLU(), nn.Conv2d(*three, 3, padding=1), nn.ReLU())
        self.five = nn.Sequential(nn.Conv2d(inputs, five[0], 1), nn.ReLU(), nn.Conv2d(*five, 5, padding=2), nn.ReLU())
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), nn.Conv2d(inputs, pool, 1), nn.ReLU())

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.one(maps), self.three(maps), self.five(maps), self.pool(maps)], dim=1)


def shrink() -> nn.Module:
    return nn.MaxPool2d(3, 2, padding=1)


class GoogLeNet(nn.Module):
    """images float (batch, in_chans, height, width) -> logits float (batch, num_classes); any size, 224 in the paper.

    Args:
        num_classes: width of the logits.
        in_chans: channels of the images.
    """

    def __init__(self, num_classes: int = 10, in_chans: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_chans, 64, 7, stride=2, padding=3), nn.ReLU(), shrink(),
            nn.Conv2d(64, 64, 1), nn.ReLU(), nn.Conv2d(64, 192, 3, padding=1), nn.ReLU(), shrink(),
            Inception(192, 64, (96, 128), (16, 32), 32), Inception(256, 128, (128, 192), (32, 96), 64), shrink(),
            Inception(480, 192, (96, 208), (16, 48), 64), Inception(512, 160, (112, 224), (24, 64), 64),
            Inception(512, 128, (128, 256), (24, 64), 64), Inception(512, 112, (144, 288), (32, 64), 64),
            Inception(528, 256, (160, 320), (32, 128), 128), shrink(),
            Inception(832, 256, (160, 320), (32, 128), 128), Inception(832, 384, (192, 384), (48, 128), 128),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(1024, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))
