"""VGG: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition" (2014), table 1.

Weights from Glorot and Bengio (2010), as in Zhang, Lipton, Li and Smola, "Dive into Deep Learning", section 8.2, whose network for
Fashion-MNIST is VGG-11 with a width of 1/4: 43,093,322 parameters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from liandan.models import ModelError

DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # convolutions of the five blocks
CHANNELS = (64, 128, 256, 512, 512)
MAP = 7  # pixels a side before the hidden layers, what an image of 224 leaves


class VGG(nn.Module):
    """images float (batch, in_chans, height, width) -> logits float (batch, num_classes); made for 224 x 224, 32 pixels at least.

    Args:
        num_classes: width of the logits.
        in_chans: channels of the images.
        depth: layers with weights, 11, 13, 16 or 19.
        width: multiplies the channels of the convolutions; the two hidden layers keep their 4,096 units.
        dropout: probability, after each of the two hidden layers.
    """

    def __init__(self, num_classes: int = 10, in_chans: int = 1, depth: int = 11, width: float = 1.0, dropout: float = 0.5) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ModelError(f"VGG expects a depth of {', '.join(map(str, DEPTHS))}, received {depth}")
        layers: list[nn.Module] = []
        inputs = in_chans
        for convolutions, channels in zip(DEPTHS[depth], CHANNELS, strict=True):
            outputs = max(1, round(channels * width))
            for _ in range(convolutions):
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Linear(inputs * MAP * MAP, 4096), nn.ReLU(), nn.Dropout(dropout),
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
