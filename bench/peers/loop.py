"""Bare training loops for `bench.loop` and `bench.resnet18`: data already in memory, nothing but the model, the loss and the optimizer.

Each function returns `run(steps)`, which makes so many steps and returns the newest loss. Flags: a fused optimizer, gradients set to
None, channels-last for convolutions where asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Run = Callable[[int], float]


def shuffled(n: int, batch: int) -> Iterator[Tensor]:
    """Indices of one batch after another, each epoch in a new order."""
    while True:
        yield from torch.randperm(n).split(batch)


def images(
    model: nn.Module, optimizer: torch.optim.Optimizer, pixels: Tensor, labels: Tensor, batch: int, mean: float, std: float,
    *, clip: float | None = None, channels_last: bool = True, bf16: bool = False,
) -> Run:  # fmt: skip
    """Classification of uint8 images (N, C, H, W) that are made float and normalized a batch at a time."""
    model.train()
    order = shuffled(len(pixels), batch)

    def run(steps: int) -> float:
        loss = torch.zeros(())
        for _ in range(steps):
            at = next(order)
            x = pixels[at].float().mul_(1 / 255).sub_(mean).div_(std)
            if channels_last:
                x = x.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                logits = model(x)
            loss = F.cross_entropy(logits.float(), labels[at])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
        return float(loss.detach())

    return run


def language(
    model: nn.Module, optimizer: torch.optim.Optimizer, tokens: Tensor, context: int, batch: int, *, clip: float | None = None
) -> Run:
    """Next-token prediction over windows of uint16 tokens (N,), one window every `context` tokens."""
    model.train()
    windows = (len(tokens) - 1) // context
    order = shuffled(windows, batch)
    within = torch.arange(context + 1)
    whole = tokens.to(torch.int64)

    def run(steps: int) -> float:
        loss = torch.zeros(())
        for _ in range(steps):
            window = whole[next(order)[:, None] * context + within]
            loss = F.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
        return float(loss.detach())

    return run
