"""LeNet-5: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition" (1998), figure 2, in modern dress.

As today's textbooks build it: plain pooling instead of trainable subsampling, C3 connected to all maps of S2, softmax
instead of radial basis functions. With the defaults it has the classic 61,706 parameters.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from liandan.models import ModelError

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
POOLS = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}
FIELD = 32  # pixels; the paper centers its 28 x 28 digits in a field of 32 x 32


class LeNet5(nn.Module):
    """images float (batch, in_chans, height, width) -> logits float (batch, num_classes); height and width from 16 up.

    Smaller images are padded with zeros to 32 x 32 (a 28 pixel digit by 2 on each side, as in the paper); larger ones
    are brought to the paper's 5 x 5 map by average pooling after the last convolution.

    Args:
        num_classes: width of the logits.
        in_chans: channels of the images.
        activation: relu, or the tanh of the paper, or the sigmoid of many textbooks; the last two start from Glorot and Bengio (2010).
        pool: max, or the paper's average.
        width: multiplies the number of channels and hidden units.
        norm: BatchNorm (Ioffe and Szegedy, 2015) after each convolution.
        dropout: probability, before each of the two hidden layers (Srivastava et al., 2014).
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 1,
        activation: Literal["relu", "tanh", "sigmoid"] = "relu",
        pool: Literal["max", "avg"] = "max",
        width: float = 1.0,
        norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS or pool not in POOLS:
            raise ModelError(f"expected activation of {list(ACTIVATIONS)} and pool of {list(POOLS)}, received {activation!r}, {pool!r}")
        c1, c3, f5, f6 = (max(1, round(n * width)) for n in (6, 16, 120, 84))
        act, shrink = ACTIVATIONS[activation], POOLS[pool]

        def stage(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 5, bias=not norm), *([nn.BatchNorm2d(outputs)] if norm else []), act(), shrink(2)]

        self.features = nn.Sequential(*stage(in_chans, c1), *stage(c1, c3))
        self.hidden = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(c3 * 25, f5), act(), nn.Dropout(dropout), nn.Linear(f5, f6), act()
        )
        self.head = nn.Linear(f6, num_classes)
        if activation != "relu":
            for module in self.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.xavier_uniform_(module.weight)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        height, width = images.shape[-2:]
        if min(height, width) < 16:
            raise ValueError(f"LeNet5 expects images of at least 16 x 16 pixels, received {height} x {width}; resize them")
        if min(height, width) < FIELD:
            dy, dx = max(0, FIELD - height), max(0, FIELD - width)
            images = F.pad(images, (dx // 2, dx - dx // 2, dy // 2, dy - dy // 2))
        maps = self.features(images)
        if maps.shape[-2:] != (5, 5):
            maps = F.adaptive_avg_pool2d(maps, 5)
        return self.head(self.hidden(maps))
