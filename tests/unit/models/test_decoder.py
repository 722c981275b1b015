"""The decoder says what the network it was made of says. Against transformers: tests/parity/test_generate.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from liandan.models import ModelError
from liandan.models.decoder import Decoder, Int8, decoder, product
from liandan.models.gpt import GPT

SMALL: dict[str, Any] = {"vocab_size": 50, "context": 24, "n_layer": 3, "n_head": 4, "width": 32}


def small(**changes: Any) -> GPT:
    torch.manual_seed(0)
    model = GPT(**SMALL | changes).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, 1.0 if p.dim() == 1 else 0.0, 0.2)
    return model


def ids(batch: int = 3, tokens: int = 20) -> torch.Tensor:
    return torch.randint(0, 50, (batch, tokens), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("changes", [{}, {"n_kv_head": 2, "tied": False}, {"n_kv_head": 1, "rope_base": 500.0, "norm_eps": 1e-3}])
@pytest.mark.parametrize("chunks", [[20], [1] * 20, [7, 1, 5, 1, 6]])
def test_steps_are_the_networks(changes: dict[str, Any], chunks: list[int]) -> None:
    model = small(**changes)
    fast, cache, own = Decoder(model, torch.float32), Decoder(model, torch.float32).new_cache(3), model.new_cache(3)
    for piece in ids().split(chunks, dim=1):
        torch.testing.assert_close(fast.step(piece, cache), model.step(piece, own), rtol=0, atol=2e-4)
    torch.testing.assert_close(fast.step(ids()), model.step(ids()), rtol=0, atol=2e-4)


def test_padding_before_a_sequence_is_not_seen() -> None:
    model = small(n_kv_head=2)
    fast, start = Decoder(model, torch.float32), torch.tensor([0, 3, 6])
    cache = fast.new_cache(3, 20, start)
    for piece in ids().split([9, 1, 1, 9], dim=1):
        got = fast.step(piece, cache)
    for i, begin in enumerate(start.tolist()):
        torch.testing.assert_close(got[i : i + 1], model.step(ids()[i : i + 1, begin:]), rtol=0, atol=2e-4)


def test_half_precision_is_near_and_the_stream_stays_wide() -> None:
    model = small()
    exact, half = model.step(ids()), Decoder(model, torch.bfloat16).step(ids())
    assert half.dtype == torch.float32 and 0 < (half - exact).abs().max() < 0.05 * exact.abs().max()


def test_int8_is_the_rounded_weights() -> None:
    """What it computes is the network of weights rounded to 127 steps of a row's largest; and that is near the first."""
    w = torch.randn(6, 32)
    rounded = Int8.of(w)
    steps = w.abs().amax(1, keepdim=True) / 127
    assert ((rounded.values.float() * rounded.scale.float()[:, None] - w).abs() <= steps * 1.01).all()  # the scale is a bfloat16: 1/256
    for rows in (1, 8, 9, 30):  # few rows and many are the same product
        x = torch.randn(2, rows, 32).bfloat16()
        torch.testing.assert_close(product(x, rounded).float(), x.float() @ w.T, rtol=0.05, atol=0.25)
    for tied in (True, False):
        model = small(tied=tied)
        exact, near = model.step(ids()), decoder(model, torch.float32, int8=True).step(ids())
        assert 0 < (near - exact).abs().max() < 0.1 * exact.abs().max()


def test_what_is_no_dense_llama_stays_what_it_is() -> None:
    mixture = small(experts=3)
    assert decoder(mixture, torch.float32) is mixture
    assert isinstance(decoder(small(), torch.float32), Decoder)
    with pytest.raises(ModelError, match="int8 is for dense Llamas"):
        decoder(mixture, torch.float32, int8=True)
    peft = pytest.importorskip("peft")
    assert peft
    from liandan.models.adapter import adapt

    adapted = adapt(small(), "lora", {})
    assert decoder(adapted, torch.float32) is adapted
