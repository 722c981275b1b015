"""How tasks write text with a model: prompts in, pieces of text out, on the run's device and in its precision."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch

from liandan.models import sampling, writing
from liandan.models.decoder import decoder
from liandan.models.sampling import GREEDY, Sampling
from liandan.models.writing import Piece
from liandan.tasks.task import World

_BEFORE = 8  # tokens of a prompt that decide how the next is written: more than a character has bytes


def writer(model: Any, world: World, int8: bool = False) -> Any:
    """The model as it is now, made to write with in the run's precision or in int8, see `decoder`; what `write` takes."""
    some = next(model.parameters())
    with world.autocast():
        half = torch.get_autocast_dtype(some.device.type) if torch.is_autocast_enabled(some.device.type) else some.dtype
    return decoder(model, half, int8)


def write(
    model: Any,
    decode: Callable[[list[int]], str],
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    world: World,
    how: Sampling = GREEDY,
    keys: Sequence[int] = (),
    *,
    ends: Collection[int] = (),
    stops: Sequence[str] = (),
    goes_on: bool = False,
) -> Iterator[Piece]:
    """Continue prompts together, and tell each text as it comes.

    Args:
        model: has `step`, `new_cache` and `context`; a text that outgrows the context goes on with its newer half.
        decode: token ids -> text.
        prompts: token ids of each, at least one; of any lengths.
        limits: the most new tokens of each, at least one.
        how: tokens are chosen; the draws of sequence i depend on keys[i] and the token's place in it alone.
        keys: one a prompt, see sampling.make_keys; none are needed where nothing is drawn.
        ends: tokens that end a text and are no part of it.
        stops: strings that do.
        goes_on: whether the text is the prompt's own, so that it may begin with a space, or with the rest of a character.
    """
    longest = max(map(len, prompts))
    padded = [[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    placed = world.move({"ids": torch.tensor(padded, dtype=torch.int64), "keys": torch.tensor(list(keys), dtype=torch.int64)})
    done = torch.zeros(len(prompts), dtype=torch.bool, device=placed["ids"].device)
    made = sampling.generate(
        model.step, placed["ids"], max(limits), how, placed["keys"], lengths=[len(prompt) for prompt in prompts],
        context=model.context, new_cache=model.new_cache, done=done,
    )  # fmt: skip
    before = [list(prompt)[-_BEFORE:] for prompt in prompts] if goes_on else None
    return _in_precision(writing.write(made, done, decode, limits, ends=ends, stops=stops, before=before), world)


def _in_precision(pieces: Iterator[Piece], world: World) -> Iterator[Piece]:
    while True:
        with world.autocast():  # around each piece alone: the caller's code runs in between
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece
