"""DCGAN: Radford, Metz and Chintala, "Unsupervised representation learning with deep convolutional GANs" (2015)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from liandan.models import ModelError


class DCGAN(nn.Module):
    """Two players: `generator` (z -> images) and `critic` (images -> logits). Calling the model generates: that is what an export holds.

        generator: float (batch, latent), standard normal -> float (batch, in_chans, size, size) in -1..1
        critic:    float (batch, in_chans, size, size) -> logits float (batch,), high for real

    Section 3 of the paper: strided convolutions instead of pooling, no hidden fully connected layers, normalization
    except at the images, ReLU and tanh in the generator, LeakyReLU(0.2) in the critic, weights from N(0, 0.02).

    Args:
        size: pixels, a power of two from 16 up.
        in_chans: channels of the images.
        latent: length of z.
        width: channels of the layer next to the images; doubles at each halving of the resolution.
        norm: batch (the paper's); group, where a sample must not see its batch; none. GroupNorm is Wu and He (2018).
        dropout: probability, in the critic after each layer.
    """

    def __init__(
        self,
        size: int = 32,
        in_chans: int = 1,
        latent: int = 64,
        width: int = 32,
        norm: Literal["batch", "group", "none"] = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if size < 16 or size & (size - 1):
            near = max(16, 1 << max(1, size).bit_length() - 1)
            raise ModelError(f"DCGAN expects a size that is a power of two from 16 up, received {size}; try {near}")
        if norm not in ("batch", "group", "none"):
            raise ModelError(f"expected norm of batch, group, none, received {norm!r}")
        self.latent, self.size = latent, size
        halvings = size.bit_length() - 3  # from `size` down to 4
        channels = [width << i for i in range(halvings)]  # at size/2, size/4, ..., 4
        self.generator = _generator(channels, in_chans, latent, norm)
        self.critic = _critic(channels, in_chans, norm, dropout)
        self.apply(_initialize)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.generator(z)


def _generator(channels: list[int], in_chans: int, latent: int, norm: str) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Unflatten(1, (latent, 1, 1)), nn.ConvTranspose2d(latent, channels[-1], 4, bias=norm == "none")]
    for inputs, outputs in zip(channels[::-1], [*channels[-2::-1], None], strict=True):
        layers += [*_norm(inputs, norm), nn.ReLU(inplace=True)]
        layers.append(nn.ConvTranspose2d(inputs, outputs or in_chans, 4, stride=2, padding=1, bias=outputs is None or norm == "none"))
    return nn.Sequential(*layers, nn.Tanh())


def _critic(channels: list[int], in_chans: int, norm: str, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in zip([in_chans, *channels[:-1]], channels, strict=True):
        first = not layers  # no normalization next to the images: the paper found samples to oscillate with it
        layers.append(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=first or norm == "none"))
        layers += [*([] if first else _norm(outputs, norm)), nn.LeakyReLU(0.2, inplace=True), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers, nn.Conv2d(channels[-1], 1, 4), nn.Flatten(0))


def _norm(channels: int, kind: str) -> list[nn.Module]:
    if kind == "batch":
        return [nn.BatchNorm2d(channels)]
    return [nn.GroupNorm(math.gcd(8, channels), channels)] if kind == "group" else []


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
        nn.init.normal_(module.weight, 1.0, 0.02)
    if isinstance(bias := getattr(module, "bias", None), nn.Parameter):
        nn.init.zeros_(bias)
