"""Beam search: the likeliest texts, rather than one of likely tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from liandan.models.sampling import NewCache, Step


@dataclass(frozen=True)
class Beam:
    """A finished sequence.

    Attributes:
        tokens: int64 (T,) after the prompt, with the one of `stops` that ended it.
        score: the sum of the tokens' log-probabilities (nats), divided by T^length_penalty.
    """

    tokens: Tensor
    score: float


@torch.no_grad()
def beam_search(
    step: Step,
    prompt_ids: Tensor,
    new_tokens: int,
    width: int = 4,
    length_penalty: float = 1.0,
    stops: Sequence[int] = (),
    *,
    context: int | None = None,
    new_cache: NewCache | None = None,
) -> list[Beam]:
    """The best continuations that a beam of `width` finds, the best first, at most `width`.

    A sequence ends with one of `stops`, or with the last token there is room for. The search ends when `width` have ended and the best of
    those that go on would not come before them if it ended now (transformers' `early_stopping=False`, whose results these are).

    Args:
        step: see `sampling.generate`.
        prompt_ids: int64 (1, P), P >= 1.
        new_tokens: at most so many.
        width: sequences kept at each token.
        length_penalty: above 0 prefers long sequences, below 0 short ones (Wu et al., "GNMT", 2016, section 7, without its constant).
        context, new_cache: see `sampling.generate`.

    Raises:
        ValueError: no beam, a prompt that is empty, no single one, or longer than the context.
    """
    if prompt_ids.dim() != 2 or len(prompt_ids) != 1 or prompt_ids.shape[1] == 0:
        raise ValueError(f"expected prompt_ids (1, P) with P >= 1, received {tuple(prompt_ids.shape)}; search for one prompt at a time")
    if width < 1 or new_tokens < 1:
        raise ValueError(f"expected a width and new_tokens of at least 1, received {width} and {new_tokens}")
    given = prompt_ids.shape[1]
    if context is not None and given > context:
        raise ValueError(f"expected a prompt of at most context={context} tokens, received {given}; shorten it")
    if context is not None:
        new_tokens = min(new_tokens, context - given + 1)
    kept = max(2, 1 + len(stops)) * width  # so many that `width` go on, whatever ends
    ends = torch.tensor(stops, dtype=torch.int64, device=prompt_ids.device)
    cache = new_cache(1, given + new_tokens - 1, None) if new_cache else None
    logits = step(prompt_ids, cache)
    tokens, scores = prompt_ids, torch.zeros(1, device=logits.device)
    finished: list[Beam] = []
    for made in range(1, new_tokens + 1):
        total = (scores[:, None] + logits.float().log_softmax(-1)).flatten()
        best, flat = total.topk(min(kept, len(total)))
        rows, chosen = (flat // logits.shape[-1]).to(tokens.device), (flat % logits.shape[-1]).to(tokens.device)
        candidates = torch.cat((tokens[rows], chosen[:, None]), dim=1)
        over = torch.isin(chosen, ends) | (made == new_tokens)
        for row in over[:width].nonzero().flatten().tolist():  # one that ends further down is no longer among the best
            finished.append(Beam(candidates[row, given:], float(best[row]) / made**length_penalty))
        finished = sorted(finished, key=lambda beam: -beam.score)[:width]
        going = (~over).nonzero().flatten()[:width]
        if len(going) == 0 or (len(finished) == width and float(best[going[0]]) / made**length_penalty <= finished[-1].score):
            break
        tokens, scores = candidates[going], best[going]
        if cache is not None:
            cache.reorder(rows[going])
        logits = step(tokens if cache is None else tokens[:, -1:], cache)
    return finished
