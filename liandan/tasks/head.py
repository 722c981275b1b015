"""The loss of a language model's head, where something is learned, a few positions at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from liandan.tasks.language_model import next_token

_POSITIONS = 128  # whose logits are held at one time: with 49,152 tokens 25 MB in float32, which a processor's cache can keep


def summed_loss(
    head: Callable[[Tensor], Tensor], head_weights: Sequence[Tensor], hidden: Tensor, target: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum of weights * negative log-likelihood (nats), and how many targets are the most likely token.

    The same numbers as through all logits at once, with the memory of `_POSITIONS` of them: what a part contributes to the gradient is
    worked out with the part, and the logits are forgotten.

    Args:
        head: (n, width) -> logits (n, vocabulary).
        head_weights: the parameters it computes with.
        hidden: float (positions, width).
        target: int64 (positions,).
        weights: float (positions,).
    """
    return _Parts.apply(head, hidden, target, weights, *[p for p in head_weights if p.requires_grad])  # pyright: ignore[reportReturnType]


class _Parts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, head: Any, hidden: Tensor, target: Tensor, weights: Tensor, *learning: Tensor) -> tuple[Tensor, Tensor]:
        wanted = ctx.needs_input_grad[1]
        gradient = torch.empty_like(hidden) if wanted else None
        gradients = [torch.zeros_like(p) for p in learning]
        total, right = weights.new_zeros(()), torch.zeros((), dtype=torch.int64, device=hidden.device)
        for at in range(0, len(target), _POSITIONS):
            part = slice(at, at + _POSITIONS)
            with torch.enable_grad():
                x = hidden[part].detach().requires_grad_(wanted)
                logits = head(x)
                loss = (next_token(logits, target[part]) * weights[part]).sum()
            total = total + loss.detach()
            right += (logits.detach().argmax(-1) == target[part]).sum()
            asked = ([x] if wanted else []) + list(learning)
            found = list(torch.autograd.grad(loss, asked)) if asked else []
            if gradient is not None:
                gradient[part] = found.pop(0)
            for sum_, more in zip(gradients, found, strict=True):
                sum_ += more
        ctx.save_for_backward(*([gradient] if gradient is not None else []), *gradients)
        ctx.mark_non_differentiable(right)
        return total, right

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *by: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        saved = [g * by[0].to(g.dtype) for g in ctx.saved_tensors]
        gradient = saved.pop(0) if ctx.needs_input_grad[1] else None
        return None, gradient, None, None, *saved
