"""Network in network: Lin, Chen and Yan (2013): after each convolution a small network at every pixel, and no hidden layers.

In the form of Zhang, Lipton, Li and Smola, "Dive into Deep Learning", section 8.3, its ReLU at the logits included; weights from
Glorot and Bengio (2010). With the defaults it has 1,992,166 parameters.
"""

from __future__ import annotations

import torch
from torch import nn


def block(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    """A convolution and two layers at every pixel."""
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 1), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 1), nn.ReLU(),
    ]  # fmt: skip


class NiN(nn.Module):
    """images float (batch, in_chans, height, width) -> logits float (batch, num_classes), none below 0; 67 pixels at least.

    Args:
        num_classes: width of the logits.
        in_chans: channels of the images.
        dropout: probability, before the last block.
    """

    def __init__(self, num_classes: int = 10, in_chans: int = 1, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *block(in_chans, 96, 11, stride=4), nn.MaxPool2d(3, 2),
            *block(96, 256, 5, padding=2), nn.MaxPool2d(3, 2),
            *block(256, 384, 3, padding=1), nn.MaxPool2d(3, 2),
            nn.Dropout(dropout),
        )  # fmt: skip
        self.head = nn.Sequential(*block(384, num_classes, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))
