"""Several texts in one row of tokens, none of which sees another: block-diagonal attention, positions that begin anew.

A packed row computes what its texts alone would, so packing changes the time of a step and rounding, nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_PADDING = -1
_MULTIPLES = 8  # of the longest text, as which rows are tried
_LINEAR = 2048  # tokens of a row at which attention costs about as much as everything else


def rows(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Which texts share a row of `width` tokens: the longest first, each into the first row that has room (first-fit decreasing, at most
    11/9 of the fewest rows there can be: Johnson, 1973). A function of the lengths alone."""
    found: list[list[int]] = []
    free: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        row = next((r for r, room in enumerate(free) if room >= lengths[i]), None)
        if row is None:
            found.append([])
            free.append(width)
            row = len(free) - 1
        found[row].append(i)
        free[row] -= lengths[i]
    return found


def cheapest(lengths: Sequence[int], context: int) -> tuple[list[list[int]], int]:
    """(rows, their length): long rows have little padding, short ones little attention. A function of the arguments alone."""
    longest = max(1, *lengths)
    tried = []
    for width in sorted({min(k * longest, max(longest, context)) for k in range(1, _MULTIPLES + 1)}):
        placed = rows(lengths, width)
        filled = max(1, *(sum(lengths[i] for i in row) for row in placed))
        tried.append((len(placed) * filled * (1 + filled / _LINEAR), filled, placed))
    _, filled, placed = min(tried)
    return placed, filled


def pack(lengths: Sequence[int], width: int, context: int) -> tuple[Tensor, Tensor]:
    """Lay a padded batch (B, width), of which text i fills the first lengths[i] places, into rows of at most `context` tokens.

    Returns:
        source: int64 (R, T), the place of each token in the flattened batch; -1 is padding. See `pick`.
        segments: int64 (R, T), the number of the text that each token belongs to; -1 is padding.
    """
    placed, filled = cheapest(lengths, context)
    source, segments = torch.full((2, len(placed), filled), _PADDING, dtype=torch.int64)
    for row, members in enumerate(placed):
        at = 0
        for i in members:
            source[row, at : at + lengths[i]] = torch.arange(i * width, i * width + lengths[i])
            segments[row, at : at + lengths[i]] = i
            at += lengths[i]
    return source, segments


def pick(batch: Tensor, padding: float, source: Tensor) -> Tensor:
    """The values of a padded batch (B, width) where `pack` has laid them, (R, T)."""
    return batch.flatten()[source.clamp_min(0)].masked_fill(source == _PADDING, padding)


def positions(segments: Tensor) -> Tensor:
    """int64 (R, T): the place of each token in its own text, from 0."""
    at = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    begins = torch.ones_like(segments, dtype=torch.bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return at - torch.where(begins, at, 0).cummax(dim=1).values


def visible(segments: Tensor) -> Tensor:
    """bool (R, 1, T, T): whether the token of a row (third axis) may look at another (fourth): one of its own text, not after it."""
    same = segments[:, :, None] == segments[:, None, :]
    return same.tril()[:, None]


@torch.no_grad()
def contamination(model: Any) -> float:
    """How far a text's hidden states move when another stands before it in the row, beside their own size; rounding when packing holds.

    Args:
        model: has `hidden(ids, segments=None)`; left as it was.
    """
    training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        texts = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]], device=device)
        apart = model.hidden(texts).flatten(0, 1)
        together = model.hidden(texts.view(1, 8), segments=torch.tensor([[0] * 4 + [1] * 4], device=device)).flatten(0, 1)
    finally:
        model.train(training)
    return float((apart - together).abs().max() / apart.abs().max())
