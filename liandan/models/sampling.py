"""Generation, once, over any `step(tokens int64 (B, T), cache) -> logits (B, vocab)` of the last position: a module, an artefact, a remote.

Noise is keyed, not drawn from a generator: the token at position p of sequence i depends on its logits, keys[i] and p alone. So neither
the batch a sequence is in nor how often generation was broken off and taken up again changes what is sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from liandan import randomness

Step = Callable[[Tensor, Any], Tensor]


def choose(logits: Tensor, temperature: float, keys: Tensor | None, position: int, top_k: int | None = None) -> Tensor:
    """The next token of each sequence: the most likely one (temperature 0), or a sample of softmax(logits / temperature).

    Samples by the Gumbel-max trick, argmax of logits / temperature - log(-log u) (Maddison, Tarlow and Minka, "A* sampling", 2014).

    Args:
        logits: float (B, vocab).
        temperature: 0 is greedy.
        keys: int64 (B,), one a sequence; not needed when greedy. The noise is made on their device.
        position: of the token to choose, counted from the start of the sequence, prompt included.
        top_k: sample among the k most likely only.

    Returns:
        int64 (B,).
    """
    if temperature == 0:
        return logits.argmax(dim=-1)
    if keys is None:
        raise ValueError("expected keys int64 (B,) for temperature > 0, received None; make them with randomness.mix(seed, i)")
    noise = -torch.log(-torch.log(randomness.uniform(keys, (logits.shape[-1],), salt=position)))
    if top_k is not None and top_k < logits.shape[-1]:
        least = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    # The division before the widening would round two near logits to one at a low temperature.
    wide = torch.float32 if logits.device.type == "mps" else torch.float64
    return (logits.to(wide) / temperature + noise.to(logits.device, wide)).argmax(dim=-1)


def generate(
    step: Step,
    prompt_ids: Tensor,
    new_tokens: int,
    temperature: float = 1.0,
    keys: Tensor | None = None,
    stop_id: int | None = None,
    *,
    top_k: int | None = None,
    context: int | None = None,
    new_cache: Callable[[int, int], Any] | None = None,
    when_full: Literal["slide", "stop"] = "slide",
) -> Iterator[Tensor]:
    """Continue prompts of equal length, yielding one int64 (B,) a token as it is made.

    A sequence that made `stop_id` goes on yielding it; generation ends when all have. Prompts of different lengths go one by one: the
    samples are the same as in a batch.

    When the window of tokens that the model sees would outgrow `context`, "slide" goes on with its newer half (and fills a new cache with
    it, so that a long text costs about one more pass over it; with or without a cache the model sees the same window), "stop" ends.

    Args:
        step: logits (B, vocab) after the last of tokens (B, T); with a cache, T new tokens, without, the whole window and cache None.
        prompt_ids: int64 (B, P), P >= 1.
        new_tokens: at most so many.
        temperature, keys, top_k: see `choose`.
        stop_id: end of a text.
        context: most tokens `step` can see; None: no bound.
        new_cache: new_cache(batch, length) makes a cache for `step`; None: no cache.
        when_full: "slide" or "stop".

    Raises:
        ValueError: at the call, not at the first token: an empty prompt, keys of another length, a prompt that "stop" cannot hold.
    """
    if prompt_ids.dim() != 2 or prompt_ids.shape[1] == 0:
        raise ValueError(
            f"expected prompt_ids (B, P) with P >= 1, received {tuple(prompt_ids.shape)}; "
            "start an empty prompt with the token that begins a text"
        )
    if temperature < 0 or (top_k is not None and top_k < 1):
        raise ValueError(f"expected temperature >= 0 and top_k >= 1, received {temperature}, {top_k}")
    if temperature > 0 and (keys is None or keys.shape != prompt_ids.shape[:1]):
        received = None if keys is None else tuple(keys.shape)
        raise ValueError(f"expected keys int64 ({len(prompt_ids)},), received {received}; make them with randomness.mix(seed, i)")
    if when_full not in ("slide", "stop"):
        raise ValueError(f"expected when_full of slide, stop, received {when_full!r}")
    if context is not None and when_full == "stop" and prompt_ids.shape[1] > context:
        raise ValueError(
            f"expected a prompt of at most context={context} tokens, received {prompt_ids.shape[1]}; shorten it or let it slide"
        )
    return _walk(step, prompt_ids, new_tokens, temperature, keys, stop_id, top_k, context, new_cache, when_full == "slide")


def _walk(
    step: Step,
    tokens: Tensor,
    new_tokens: int,
    temperature: float,
    keys: Tensor | None,
    stop_id: int | None,
    top_k: int | None,
    context: int | None,
    new_cache: Callable[[int, int], Any] | None,
    slide: bool,
) -> Iterator[Tensor]:
    total = tokens.shape[1] + new_tokens
    done = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    start, cache = 0, None  # the window is tokens[:, start:]
    for position in range(tokens.shape[1], total):
        full = context is not None and position - start > context
        if full and not slide:
            return
        if full and context is not None:
            start, cache = position - max(1, context // 2), None
        if new_cache is None:
            seen = tokens[:, start:]
        elif cache is None:
            cache = new_cache(len(tokens), min(total - start, context or total))
            seen = tokens[:, start:]
        else:
            seen = tokens[:, -1:]
        with torch.no_grad():  # inside the loop: a generator must not leave the caller's code without gradients between tokens
            chosen = choose(step(seen, cache), temperature, keys, position, top_k).to(tokens.device)
        if stop_id is not None:
            chosen = torch.where(done, stop_id, chosen)
            done = done | (chosen == stop_id)
        yield chosen
        if stop_id is not None and bool(done.all()):
            return
        tokens = torch.cat((tokens, chosen[:, None]), dim=1)
