"""The perceptron and its layers: softmax regression without a hidden layer, a multilayer perceptron with some.

In the form of Zhang, Lipton, Li and Smola, "Dive into Deep Learning", chapters 4 and 5: ReLU, weights from N(0, 0.01), biases 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from liandan.models import ModelError

DEVIATION = 0.01  # of the initial weights


class MLP(nn.Module):
    """images float (batch, in_chans, height, width), of one size -> logits float (batch, num_classes).

    Args:
        num_classes: width of the logits.
        in_chans: channels of the images.
        size: pixels of the images, [height, width] or a side.
        hidden: units of each hidden layer; none is softmax regression.
        dropout: probability after each hidden layer (Srivastava et al., 2014): one number for all, or one for each.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 1,
        size: int | Sequence[int] = 28,
        hidden: Sequence[int] = (256,),
        dropout: float | Sequence[float] = 0.0,
    ) -> None:
        super().__init__()
        height, width = (size, size) if isinstance(size, int) else size
        drops = [dropout] * len(hidden) if isinstance(dropout, int | float) else list(dropout)
        if len(drops) != len(hidden):
            raise ModelError(f"expected dropout as one number, or as {len(hidden)} of them, one for each hidden layer, received {dropout}")
        layers: list[nn.Module] = [nn.Flatten()]
        units = in_chans * height * width
        for wider, drop in zip(hidden, drops, strict=True):
            layers += [nn.Linear(units, wider), nn.ReLU(), nn.Dropout(drop)]
            units = wider
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(units, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=DEVIATION)
                nn.init.zeros_(module.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(images))
