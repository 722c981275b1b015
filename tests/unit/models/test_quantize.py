"""4-bit bases: bitsandbytes' numbers, peft's gradients, and an adapter that is merged into what it learned beside."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from liandan.models import adapter
from liandan.models.gpt import GPT
from liandan.models.quantize import compute_in, is_quantized, quantize, whole

bnb = pytest.importorskip("bitsandbytes")
IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
SIZES: dict[str, Any] = {"vocab_size": 40, "context": 16, "n_layer": 2, "n_head": 2, "width": 64}


def gpt() -> Any:
    torch.manual_seed(0)
    return GPT(**SIZES)


def quantized(dtype: torch.dtype = torch.float32) -> Any:
    model = gpt()
    return quantize(model, adapter.linear_layers(model), dtype)


def test_a_layer_computes_with_the_nearest_of_sixteen_numbers() -> None:
    plain, held = gpt(), quantized()
    was, is_ = plain.blocks[0].mlp.up.weight, held.blocks[0].mlp.up
    assert is_quantized(is_) and not is_quantized(held.embedding)
    packed, state = bnb.functional.quantize_4bit(was.detach(), quant_type="nf4", compress_statistics=True)
    assert torch.equal(whole(is_).weight, bnb.functional.dequantize_4bit(packed, state))
    error = float((whole(is_).weight - was).norm() / was.norm())
    assert 0.05 < error < 0.15  # NF4 of normal numbers: about 0.1
    assert is_.weight.numel() * is_.weight.element_size() == math.ceil(was.numel() / 2)
    x = torch.randn(5, 64)
    torch.testing.assert_close(is_(x), whole(is_)(x), rtol=1e-5, atol=1e-6)


def test_an_adapter_beside_layers_that_compute_in_bfloat16_is_float32_itself() -> None:
    model = adapter.adapt(quantized(torch.bfloat16), "lora", {"rank": 4})
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}  # smaller steps than bfloat16 can make
    with torch.no_grad():
        rounded = model(IDS)  # without autocast
        compute_in(model, torch.float32)
        exact = model(IDS)
        torch.testing.assert_close(adapter.merge(model)(IDS), exact, rtol=1e-4, atol=1e-5)
    assert not torch.equal(rounded, exact)


@pytest.mark.parametrize("name", adapter.NAMES)
def test_an_adapter_learns_beside_it_and_merges_into_it(name: str) -> None:
    model = adapter.adapt(quantized(), name, {"rank": 4, "alpha": 6.0})
    unpacked = copy.deepcopy(gpt())
    for part in adapter.linear_layers(unpacked):
        unpacked.set_submodule(part, whole(quantized().get_submodule(part)))
    like = adapter.adapt(unpacked, name, {"rank": 4, "alpha": 6.0})  # the same weights, held whole
    for both in (model, like):
        torch.manual_seed(1)
        for p in both.parameters():
            if p.requires_grad:
                torch.nn.init.normal_(p, 0, 0.1)
        both(IDS).square().sum().backward()
    learning = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    others = {n: p.grad for n, p in like.named_parameters() if p.requires_grad}
    assert learning.keys() == others.keys() == model.state_dict().keys()
    for n in learning:
        torch.testing.assert_close(learning[n], others[n], rtol=1e-3, atol=1e-4)

    model.eval()
    with torch.no_grad():
        before = model(IDS)
        merged = adapter.merge(model).state_dict()
        torch.testing.assert_close(model(IDS), before, rtol=1e-4, atol=1e-5)
    assert merged.keys() == gpt().state_dict().keys() and all(t.dtype is torch.float32 for t in merged.values())
