"""AlexNet: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks" (2012).

In the form of Zhang, Lipton, Li and Smola, "Dive into Deep Learning", section 8.1: one stream instead of two, no local response
normalization, weights from Glorot and Bengio (2010). With the defaults it has 46,764,746 parameters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

MAP = 5  # pixels a side before the hidden layers, what an image of 224 leaves


class AlexNet(nn.Module):
    """images float (batch, in_chans, height, width) -> logits float (batch, num_classes); made for 224 x 224, 65 pixels at least.

    Args:
        num_classes: width of the logits.
        in_chans: channels of the images.
        dropout: probability, after each of the two hidden layers.
    """

    def __init__(self, num_classes: int = 10, in_chans: int = 1, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_chans, 96, 11, stride=4, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(96, 256, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Linear(256 * MAP * MAP, 4096), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(dropout),
        )  # fmt: skip
        self.head = nn.Linear(4096, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.features(images)
        if maps.shape[-2:] != (MAP, MAP):
            maps = F.adaptive_avg_pool2d(maps, MAP)
        return self.head(self.hidden(maps))
