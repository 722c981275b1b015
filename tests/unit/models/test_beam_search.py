"""Beam search against an exhaustive one, and its refusals. Against transformers: tests/parity/test_generate.py."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from liandan.models.beam_search import beam_search
from liandan.models.gpt import GPT


@pytest.fixture(scope="module")
def model() -> GPT:
    torch.manual_seed(0)
    model = GPT(vocab_size=5, context=12, n_layer=2, n_head=2, width=16).double().eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, 0.0, 0.5)
    return model


PROMPT = torch.tensor([[1, 2]])


@torch.no_grad()
@pytest.mark.parametrize("penalty", [0.0, 1.0, -1.0])
def test_a_beam_as_wide_as_all_finds_the_best_of_all(model: GPT, penalty: float) -> None:
    found = beam_search(model.step, PROMPT, 4, 5**4, penalty, new_cache=model.new_cache)
    scores = {}
    for rest in itertools.product(range(5), repeat=4):
        whole = torch.cat((PROMPT, torch.tensor([rest])), 1)
        logs = model(whole).log_softmax(-1)[0, 1:-1]
        scores[rest] = sum(float(logs[i, token]) for i, token in enumerate(rest)) / 4**penalty
    best = sorted(scores, key=lambda rest: -scores[rest])[:3]
    assert [tuple(beam.tokens.tolist()) for beam in found[:3]] == best
    assert all(math.isclose(beam.score, scores[rest], rel_tol=1e-5) for beam, rest in zip(found[:3], best, strict=True))


def test_a_beam_of_one_is_greedy_and_a_cache_changes_nothing(model: GPT) -> None:
    (one,) = beam_search(model.step, PROMPT, 6, 1)
    tokens = PROMPT
    for token in one.tokens.tolist():
        assert int(model.step(tokens).argmax()) == token
        tokens = torch.cat((tokens, torch.tensor([[token]])), 1)
    for width in (2, 3):
        plain = beam_search(model.step, PROMPT, 6, width, stops=[0])
        cached = beam_search(model.step, PROMPT, 6, width, stops=[0], new_cache=model.new_cache)
        assert [b.tokens.tolist() for b in plain] == [b.tokens.tolist() for b in cached]


def test_it_ends_with_the_context(model: GPT) -> None:
    assert len(beam_search(model.step, PROMPT, 50, 2, context=12, new_cache=model.new_cache)[0].tokens) == 12 - 2 + 1


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        (torch.zeros(2, 3, dtype=torch.long), {}, "one prompt at a time"),
        (PROMPT, {"width": 0}, "at least 1"),
        (PROMPT.repeat(1, 9), {"context": 12}, "at most context=12"),
    ],
)
def test_refusals(model: GPT, prompt: torch.Tensor, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        beam_search(model.step, prompt, 3, **options)
