"""LeNet with BatchNorm after every layer but the last: Ioffe and Szegedy, "Batch normalization" (2015).

In the form of Zhang, Lipton, Li and Smola, "Dive into Deep Learning", section 8.5: no padding, sigmoid, average pooling, weights
from Glorot and Bengio (2010). With the defaults it has 44,878 parameters. LeNet-5 itself is `liandan/lenet5`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

MAP = 4  # pixels a side before the hidden layers, what an image of 28 leaves


class BNLeNet(nn.Module):
    """images float (batch, in_chans, height, width) -> logits float (batch, num_classes); made for 28 x 28, 16 pixels at least.

    Args:
        num_classes: width of the logits.
        in_chans: channels of the images.
    """

    def __init__(self, num_classes: int = 10, in_chans: int = 1) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_chans, 6, 5), nn.BatchNorm2d(6), nn.Sigmoid(), nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5), nn.BatchNorm2d(16), nn.Sigmoid(), nn.AvgPool2d(2),
        )  # fmt: skip
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Linear(16 * MAP * MAP, 120), nn.BatchNorm1d(120), nn.Sigmoid(),
            nn.Linear(120, 84), nn.BatchNorm1d(84), nn.Sigmoid(),
        )  # fmt: skip
        self.head = nn.Linear(84, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.features(images)
        if maps.shape[-2:] != (MAP, MAP):
            maps = F.adaptive_avg_pool2d(maps, MAP)
        return self.head(self.hidden(maps))
