"""DenseNet: Huang, Liu, van der Maaten and Weinberger, "Densely connected convolutional networks" (2016).

In the form of Zhang, Lipton, Li and Smola, "Dive into Deep Learning", section 8.7: four blocks of four 3x3 convolutions, no
bottlenecks, convolutions keep their biases, weights from Glorot and Bengio (2010). With the defaults it has 758,226 parameters. The
paper's own networks are `timm/densenet121` and its sisters.
"""

from __future__ import annotations

import torch
from torch import nn


def convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Normalization, ReLU, convolution: the paper's order."""
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))


class Dense(nn.Module):
    """Each convolution sees the block's input and all before it, and adds `growth` channels."""

    def __init__(self, inputs: int, growth: int, convolutions: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(convolution(inputs + i * growth, growth, 3) for i in range(convolutions))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            maps = torch.cat([maps, layer(maps)], dim=1)
        return maps


class DenseNet(nn.Module):
    """images float (batch, in_chans, height, width) -> logits float (batch, num_classes); 32 pixels at least.

    Args:
        num_classes: width of the logits.
        in_chans: channels of the images.
        growth: channels that a convolution adds.
        blocks: convolutions of each block; channels and sides are halved between two.
    """

    def __init__(self, num_classes: int = 10, in_chans: int = 1, growth: int = 32, blocks: tuple[int, ...] = (4, 4, 4, 4)) -> None:
        super().__init__()
        channels = 64
        self.stem = nn.Sequential(
            nn.Conv2d(in_chans, channels, 7, stride=2, padding=3), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)
        )
        layers: list[nn.Module] = []
        for i, convolutions in enumerate(blocks):
            layers.append(Dense(channels, growth, convolutions))
            channels += growth * convolutions
            if i + 1 < len(blocks):
                layers += [convolution(channels, channels // 2, 1), nn.AvgPool2d(2)]
                channels //= 2
        self.features = nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(self.stem(images)))
