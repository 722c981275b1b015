"""Generation, once, over any `step(tokens int64 (B, T), cache) -> logits (B, vocab)` of the last position: a module, an artefact, a remote.

Noise is keyed, not drawn from a generator: the token at position p of sequence i depends on its logits, keys[i] and p alone. So neither
the batch a sequence is in nor how often generation was broken off and taken up again changes what is sampled.

What is made here are tokens; `writing` makes text of them, `beam_search` looks for the likeliest sequence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from liandan import randomness

Step = Callable[[Tensor, Any], Tensor]


class Cache(Protocol):
    """What a step keeps of the tokens it has seen."""

    def reorder(self, rows: Tensor) -> None:
        """Become the cache of the sequences `rows` int64 (B',), each of those there were, some perhaps several times."""
        ...


# new_cache(batch, length, start): room for `length` tokens; sequence i begins at column start[i], int64 (B,); None: all at column 0
NewCache = Callable[[int, int, Tensor | None], Cache]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. The steps are taken in this order.

    Attributes:
        repetition_penalty: logits of tokens that stand in prompt or text are divided by it where positive, multiplied where negative
            (Keskar et al., "CTRL", 2019, section 4.1); 1 does nothing.
        presence_penalty: taken from the logit of each token made so far, -2..2 in OpenAI's API.
        frequency_penalty: taken from it as often as it was made so far; the prompt does not count for either.
        temperature: divides the logits; 0 is the most likely token.
        top_k: only the k most likely.
        top_p: only the most likely whose probabilities first reach p together (Holtzman et al., "nucleus sampling", 2020).
        min_p: only those at least min_p times as likely as the most likely (Nguyen et al., 2024).
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError for values without a meaning."""
        for name, good, expected in (
            ("temperature", self.temperature >= 0, "0 or more"),
            ("top_k", self.top_k is None or self.top_k >= 1, "1 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0, at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < torch.inf, "above 0"),
            ("presence_penalty", abs(self.presence_penalty) < torch.inf, "a number"),
            ("frequency_penalty", abs(self.frequency_penalty) < torch.inf, "a number"),
        ):
            if not good:
                raise ValueError(f"{name}: expected {expected}, received {getattr(self, name)}")

    @property
    def remembers(self) -> bool:
        """Whether what was said so far weighs on what comes."""
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1.0, 0.0, 0.0)


GREEDY = Sampling(temperature=0.0)


def penalized(logits: Tensor, how: Sampling, tokens: Tensor, start: int, padding: Sequence[int] = ()) -> Tensor:
    """Logits (B, vocab) less what `how` takes from tokens (B, T), of which those from `start` on were made and the others given.

    Args:
        padding: how many tokens at the beginning of each sequence are none of it.
    """
    if how.repetition_penalty != 1.0:
        real = torch.ones_like(tokens, dtype=logits.dtype)
        for row, length in enumerate(padding):
            real[row, :length] = 0
        seen = torch.zeros_like(logits).scatter_add_(1, tokens, real) > 0
        logits = torch.where(seen, torch.where(logits > 0, logits / how.repetition_penalty, logits * how.repetition_penalty), logits)
    if how.presence_penalty or how.frequency_penalty:
        made = tokens[:, start:]
        counts = torch.zeros_like(logits).scatter_add_(1, made, torch.ones_like(made, dtype=logits.dtype))
        logits = logits - how.frequency_penalty * counts - how.presence_penalty * (counts > 0)
    return logits


def narrowed(logits: Tensor, how: Sampling) -> Tensor:
    """Logits (B, vocab), already divided by the temperature, with -inf where `how` leaves a token out."""
    if how.top_k is not None and how.top_k < logits.shape[-1]:
        least = logits.topk(how.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if how.top_p < 1:
        ordered, index = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities  # what the likelier ones reach without this one
        logits = logits.scatter(1, index, ordered.masked_fill(before >= how.top_p, -torch.inf))
    if how.min_p > 0:
        logits = logits.masked_fill(logits < logits.max(-1, keepdim=True).values + math.log(how.min_p), -torch.inf)
    return logits


def choose(logits: Tensor, how: Sampling, keys: Tensor | None, position: int | Sequence[int]) -> Tensor:
    """The next token of each sequence: the most likely one (temperature 0), or a sample of softmax(logits / temperature), narrowed.

    Samples by the Gumbel-max trick, argmax of logits / temperature - log(-log u) (Maddison, Tarlow and Minka, "A* sampling", 2014).

    Args:
        logits: float (B, vocab).
        keys: int64 (B,), one a sequence; not needed when greedy. The noise is made on their device.
        position: of the token to choose, counted from the start of its sequence, prompt included; one for all, or one each.

    Returns:
        int64 (B,).
    """
    if how.temperature == 0:
        return logits.argmax(dim=-1)
    if keys is None:
        raise ValueError("expected keys int64 (B,) for temperature > 0, received None; make them with randomness.mix(seed, i)")
    noise = -torch.log(-torch.log(randomness.uniform(keys, (logits.shape[-1],), salt=position)))
    # The division before the widening would round two near logits to one at a low temperature.
    wide = torch.float32 if logits.device.type == "mps" else torch.float64
    return (narrowed(logits.to(wide) / how.temperature, how) + noise.to(logits.device, wide)).argmax(dim=-1)


def make_keys(seed: int, n: int = 1) -> Tensor:
    """int64 (n,): a key for each of n samples of one prompt; the first k are the same however many there are."""
    return torch.tensor([randomness.mix(seed, i) for i in range(n)], dtype=torch.int64)


def generate(
    step: Step,
    prompt_ids: Tensor,
    new_tokens: int,
    how: Sampling = Sampling(),
    keys: Tensor | None = None,
    stops: Sequence[int] = (),
    *,
    lengths: Sequence[int] | None = None,
    context: int | None = None,
    new_cache: NewCache | None = None,
    when_full: Literal["slide", "stop"] = "slide",
    done: Tensor | None = None,
) -> Iterator[Tensor]:
    """Continue prompts, yielding one int64 (B,) a token as it is made.

    A sequence that made one of `stops`, or that the caller marks in `done`, goes on yielding its last token; generation ends when all
    have. A prompt that is the same for all is read once.

    When the window of tokens that the model sees would outgrow `context`, "slide" goes on with its newer half (and fills a new cache with
    it, so that a long text costs about one more pass over it; with or without a cache the model sees the same window), "stop" ends.

    Args:
        step: logits (B, vocab) after the last of tokens (B, T); with a cache, T new tokens, without, the whole window and cache None.
        prompt_ids: int64 (B, P), P >= 1.
        new_tokens: at most so many.
        how, keys: see `choose`.
        stops: tokens that end a text.
        lengths: of each prompt, the last so many of its P tokens; what stands before them is padding. None: P.
        context: most tokens `step` can see; None: no bound.
        new_cache: makes a cache for `step`, see NewCache; None: no cache.
        when_full: "slide" or "stop".
        done: bool (B,) on the device of the prompts, the caller's to set true between two tokens.

    Raises:
        ValueError: at the call, not at the first token: an empty prompt, keys of another length, a prompt that "stop" cannot hold,
            prompts of several lengths without a cache, which is what knows where each begins, or with "stop".
    """
    if prompt_ids.dim() != 2 or prompt_ids.shape[1] == 0:
        raise ValueError(
            f"expected prompt_ids (B, P) with P >= 1, received {tuple(prompt_ids.shape)}; "
            "start an empty prompt with the token that begins a text"
        )
    batch, given = prompt_ids.shape
    if how.temperature > 0 and (keys is None or keys.shape != (batch,)):
        received = None if keys is None else tuple(keys.shape)
        raise ValueError(f"expected keys int64 ({batch},), received {received}; make them with make_keys(seed, {batch})")
    if when_full not in ("slide", "stop"):
        raise ValueError(f"expected when_full of slide, stop, received {when_full!r}")
    if context is not None and when_full == "stop" and given > context:
        raise ValueError(f"expected a prompt of at most context={context} tokens, received {given}; shorten it or let it slide")
    padding = [0] * batch if lengths is None else [given - length for length in lengths]
    if len(padding) != batch or not all(0 <= pad < given for pad in padding):
        raise ValueError(f"expected lengths of {batch} prompts from 1 to {given}, received {lengths}")
    if any(padding) and (new_cache is None or when_full == "stop"):
        raise ValueError("expected a cache and when_full=slide for prompts of several lengths; give them one by one")
    done = torch.zeros(batch, dtype=torch.bool, device=prompt_ids.device) if done is None else done
    walk = _Walk(step, how, keys, tuple(stops), context, new_cache, when_full == "slide")
    return walk.tokens(prompt_ids, new_tokens, padding, done)


@dataclass(frozen=True)
class _Walk:
    """The checked arguments of `generate` that stay the same from token to token."""

    step: Step
    how: Sampling
    keys: Tensor | None
    stops: tuple[int, ...]
    context: int | None
    new_cache: NewCache | None
    slide: bool

    def tokens(self, tokens: Tensor, new_tokens: int, padding: list[int], done: Tensor) -> Iterator[Tensor]:
        given, total = tokens.shape[1], tokens.shape[1] + new_tokens
        ends = torch.tensor(self.stops, device=tokens.device)
        begins, cache = list(padding), None  # the model sees tokens[i, begins[i]:]
        for position in range(given, total):
            if self.context is not None and any(position - begin > self.context for begin in begins):
                if not self.slide:
                    return
                half = max(1, self.context // 2)
                begins, cache = [position - half if position - begin > self.context else begin for begin in begins], None
            with torch.no_grad():  # inside the loop: a generator must not leave the caller's code without gradients between tokens
                if cache is not None:
                    logits = self.step(tokens[:, -1:], cache)
                else:
                    logits, cache = self.first(tokens, begins, total)
                if self.how.remembers:
                    logits = penalized(logits, self.how, tokens.to(logits.device), given, padding)
                at = [position - pad for pad in padding] if any(padding) else position
                chosen = choose(logits, self.how, self.keys, at).to(tokens.device)
            chosen = torch.where(done, tokens[:, -1], chosen)
            if self.stops:
                done |= torch.isin(chosen, ends)
            yield chosen
            if bool(done.all()):
                return
            tokens = torch.cat((tokens, chosen[:, None]), dim=1)

    def first(self, tokens: Tensor, begins: list[int], total: int) -> tuple[Tensor, Cache | None]:
        """Logits after windows that the model has not seen yet, and the cache that holds them."""
        low = min(begins)
        seen = tokens[:, low:]
        if self.new_cache is None:
            return self.step(seen, None), None
        batch, length = len(tokens), min(total - low, self.context or total)
        if max(begins) > low:
            cache = self.new_cache(batch, length, torch.tensor(begins, device=tokens.device) - low)
            return self.step(seen, cache), cache
        if batch == 1 or not bool((seen == seen[:1]).all()):
            cache = self.new_cache(batch, length, None)
            return self.step(seen, cache), cache
        cache = self.new_cache(1, length, None)  # the same prompt for all
        logits = self.step(seen[:1], cache)
        cache.reorder(torch.zeros(batch, dtype=torch.int64, device=tokens.device))
        return logits.expand(batch, -1), cache
