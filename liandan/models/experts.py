"""A sparse mixture of experts in the place of a layer's MLP: each token goes through the few experts that a router chooses for it.

    router      softmax(W x), its k largest, weighted by their share of one another
                (Shazeer et al., "Outrageously large neural networks", 2017; of one expert by its probability, as in the Switch
                Transformer, Fedus, Zoph and Shazeer, 2022, equation 2: its share of itself would be 1 and teach the router nothing)
    noise       + N(0, 1) softplus(W_noise x), while training, so that experts that are seldom chosen are tried (Shazeer, equation 4)
    balance     experts * sum of f_i P_i, f_i the share of choices that fell on expert i, P_i its mean probability (Switch, equations
                4 to 6), of each sequence by itself (DeepSeek-AI, "DeepSeek-V3", 2024, equations 17 to 20): 1 where all are used alike
    capacity    an expert takes so many tokens of a sequence; the next go to the likeliest expert that has room, and past the layer
                where none has, by the residual stream alone

Balance and capacity belong to a sequence, not to a batch, so samples do not depend on what else is in their batch: law 1 holds. Capacity
is given to tokens in their order, so none depends on later ones; it is a matter of training alone.

Shapes: B batch, T tokens, N experts, k of them a token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Routing:
    """What a layer's router wanted, before any expert was full: probabilities (B, T, N), and `wanted` int64 (B, T, k)."""

    probabilities: Tensor
    wanted: Tensor


class Experts(nn.Module):
    """N experts, of which each token goes through k.

    Args:
        expert: makes one, a module of tokens (M, width) -> (M, width).
        noise: whether the router is noisy while it trains.
        room: most tokens of a sequence that an expert takes while training; None: no bound.
    """

    def __init__(self, width: int, count: int, per_token: int, expert: Callable[[], nn.Module], noise: bool, room: int | None) -> None:
        super().__init__()
        self.per_token, self.room = per_token, room
        self.router = nn.Linear(width, count, bias=False)
        self.noise = nn.Linear(width, count, bias=False) if noise else None
        self.experts = nn.ModuleList(expert() for _ in range(count))

    def forward(self, x: Tensor, routings: list[Routing] | None = None) -> Tensor:
        """(B, T, width) -> (B, T, width). What the router did is appended to `routings`."""
        with torch.autocast(x.device.type, enabled=False):  # half precision would choose by rounding (Switch, section 2.4)
            scores = self.scores(x)
            probabilities = scores.softmax(-1)
            wanted = chosen = scores.topk(self.per_token).indices
            weights = probabilities.gather(-1, wanted)
            if self.training and self.room is not None:
                chosen, taken = with_room(scores.detach(), self.per_token, self.room)
                weights = probabilities.gather(-1, chosen) * taken
            if self.per_token > 1:
                weights = weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        if routings is not None:
            routings.append(Routing(probabilities, wanted))
        flat, chosen, weights = x.flatten(0, 1), chosen.flatten(0, 1), weights.flatten(0, 1)
        out = torch.zeros_like(flat)
        for i, expert in enumerate(self.experts):
            token, place = (chosen == i).nonzero(as_tuple=True)
            out = out.index_add(0, token, (expert(flat[token]) * weights[token, place, None]).to(out.dtype))
        return out.view_as(x)

    def scores(self, x: Tensor) -> Tensor:
        """What the router's softmax is taken of: (B, T, N), at least float32."""
        precise = x if x.dtype == torch.float64 else x.float()
        scores = F.linear(precise, self.router.weight.to(precise.dtype))
        if self.training and self.noise is not None:
            scores = scores + torch.randn_like(scores) * F.softplus(F.linear(precise, self.noise.weight.to(precise.dtype)))
        return scores


def with_room(scores: Tensor, per_token: int, room: int) -> tuple[Tensor, Tensor]:
    """The likeliest experts of each token that have room when its turn comes.

    Args:
        scores: (B, T, N).
        room: tokens of a sequence that an expert takes.

    Returns:
        int64 (B, T, k), and of the same shape 1.0 where the expert takes the token, 0.0 where there was none left.
    """
    free = torch.full_like(scores[:, 0], room)
    chosen, taken = [], []
    for now in scores.unbind(1):
        best, index = now.masked_fill(free <= 0, -torch.inf).topk(per_token)
        fits = (best > -torch.inf).to(scores.dtype)
        free.scatter_add_(1, index, -fits)
        chosen.append(index)
        taken.append(fits)
    return torch.stack(chosen, 1), torch.stack(taken, 1)


def room_for(capacity: float | None, context: int, per_token: int, count: int) -> int | None:
    """Tokens of a sequence that an expert takes: `capacity` times its fair part of a full context; None: no bound."""
    return None if capacity is None else math.ceil(capacity * context * per_token / count)


def balance(routings: Sequence[Routing], real: Tensor) -> Tensor:
    """How evenly each sequence used the experts, summed over layers: (B,), 1 a layer where evenly, up to N / k where not at all.

    Args:
        real: bool (B, T), false at padding.
    """
    total = torch.zeros((), device=real.device)
    for routing in routings:
        p = routing.probabilities * real[..., None]
        wanted = torch.zeros_like(p).scatter(2, routing.wanted, 1.0) * real[..., None]
        length = real.sum(1, keepdim=True).clamp(min=1)
        share, mean = wanted.sum(1) / (length * routing.wanted.shape[-1]), p.sum(1) / length
        total = total + p.shape[-1] * (share * mean).sum(-1)
    return total
