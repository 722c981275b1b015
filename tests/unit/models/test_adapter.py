"""Adapters: peft's numbers, and a state_dict that is the adapter's alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from liandan.models import ModelError, adapter
from liandan.models.gpt import GPT

peft = pytest.importorskip("peft")
IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


def gpt() -> GPT:
    torch.manual_seed(0)
    return GPT(vocab_size=40, context=16, n_layer=2, n_head=2, width=16).eval()


def filled(model: torch.nn.Module) -> torch.nn.Module:
    """With an adapter that changes something: B is zero at first."""
    torch.manual_seed(1)
    for p in model.parameters():
        if p.requires_grad:
            torch.nn.init.normal_(p, 0, 0.2)
    return model.eval()


@pytest.mark.parametrize("name", adapter.NAMES)
def test_it_begins_as_no_change_and_learns_alone(name: str) -> None:
    base = gpt()
    model = adapter.adapt(copy.deepcopy(base), name, {"rank": 4})
    with torch.no_grad():
        assert torch.allclose(model(IDS), base(IDS), atol=1e-6)
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert learning and all(adapter.is_adapter(n) for n in learning)
    assert set(model.state_dict()) == learning
    model(IDS).sum().backward()
    assert all(p.grad is None for n, p in model.named_parameters() if n not in learning)


@pytest.mark.parametrize("name", adapter.NAMES)
def test_the_changed_model_is_pefts(name: str) -> None:
    ours = filled(adapter.adapt(gpt(), name, {"rank": 4, "alpha": 6.0, "targets": ["query", "value"]}))
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=["query", "value"], use_dora=name == "dora")
    theirs = peft.get_peft_model(gpt(), config)  # pyright: ignore[reportArgumentType]
    theirs.load_state_dict({f"base_model.model.{k}": v for k, v in ours.state_dict().items()}, strict=False)
    with torch.no_grad():
        assert torch.allclose(theirs.eval()(IDS), ours(IDS), atol=1e-6) and not torch.allclose(gpt()(IDS), ours(IDS), atol=1e-3)


@pytest.mark.parametrize("name", adapter.NAMES)
def test_merged_it_is_pefts_whole_model_under_the_names_of_the_base(name: str) -> None:
    base = gpt()
    model = filled(adapter.adapt(copy.deepcopy(base), name, {"rank": 4, "alpha": 6.0}))
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules="all-linear", use_dora=name == "dora")
    theirs = peft.get_peft_model(copy.deepcopy(base), config)  # pyright: ignore[reportArgumentType]
    theirs.load_state_dict({f"base_model.model.{k}": v for k, v in model.state_dict().items()}, strict=False)
    whole = theirs.eval().merge_and_unload().state_dict()
    with torch.no_grad():
        before = model(IDS)
        merged = adapter.merge(model).state_dict()
        assert torch.allclose(model(IDS), before, atol=1e-5) and not torch.allclose(base(IDS), before, atol=1e-3)
    assert merged.keys() == base.state_dict().keys() and all(torch.equal(merged[k], whole[k]) for k in merged)
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict({})
    assert adapter.merge(base) is base


def test_a_state_goes_from_one_to_another() -> None:
    first = filled(adapter.adapt(gpt(), "lora", {}))
    second = adapter.adapt(gpt(), "lora", {})
    second.load_state_dict(first.state_dict())
    third = copy.deepcopy(second)
    with torch.no_grad():
        assert torch.equal(first(IDS), second(IDS)) and torch.equal(third(IDS), second(IDS))
    assert set(third.state_dict()) == set(first.state_dict())
    with pytest.raises(RuntimeError, match=r"Missing key.*lora_A"):
        second.load_state_dict({k: v for k, v in first.state_dict().items() if "blocks.0.attention.query.lora_A" not in k})


def test_the_head_is_left_alone_and_faults_are_told() -> None:
    untied = GPT(vocab_size=40, context=16, n_layer=1, n_head=2, width=16, tied=False)
    assert not any(n.startswith("head") for n in adapter.adapt(untied, "lora", {}).state_dict())
    with pytest.raises(ModelError, match="no adapter 'lara'"):
        adapter.adapt(gpt(), "lara", {})
    with pytest.raises(ModelError, match=r"no linear layer ends in q_proj; there are: down, gate, key"):
        adapter.adapt(gpt(), "lora", {"targets": ["q_proj"]})


@pytest.mark.parametrize(("lossless", "tied"), [(True, True), (True, False), (False, True), (False, False)])
def test_frozen_weights_in_half_precision_are_what_autocast_makes_of_them(lossless: bool, tied: bool) -> None:
    """Bit for bit: outputs and gradients, and half the bytes."""
    torch.manual_seed(0)
    base = GPT(vocab_size=40, context=16, n_layer=2, n_head=2, width=16, tied=tied)
    if lossless:
        base.to(torch.bfloat16).float()
    plain = filled(adapter.adapt(base, "lora", {"rank": 4, "dropout": 0.1})).train()
    held: Any = adapter.hold(copy.deepcopy(plain), torch.bfloat16)
    outputs, gradients = [], []
    for model in (plain, held):
        torch.manual_seed(3)  # the same dropout
        with torch.autocast("cpu", torch.bfloat16):
            outputs.append(model(IDS))
        outputs[-1].square().sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    assert torch.equal(*outputs) and gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][n], gradients[1][n]) for n in gradients[0])
    assert held.blocks[0].mlp.up.base_layer.weight.dtype is torch.bfloat16 and held.norm.weight.dtype is torch.float32
    assert held.embedding.weight.dtype is (torch.bfloat16 if lossless else torch.float32)
    assert held.state_dict().keys() == plain.state_dict().keys()
    assert all(p.dtype is torch.float32 for p in held.parameters() if p.requires_grad)
