"""The mixture of experts: Mixtral's arithmetic, published balance, room for so many tokens, and no sample that depends on another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from liandan.models import ModelError
from liandan.models.experts import Experts, Routing, balance, with_room
from liandan.models.gpt import GPT, SwiGLU, to_llama

SMALL: dict[str, Any] = {"vocab_size": 50, "context": 24, "n_layer": 2, "n_head": 4, "width": 32, "hidden": 24, "experts": 5}


def small(**changes: Any) -> GPT:
    torch.manual_seed(0)
    model = GPT(**SMALL | changes).double().eval()
    for p in model.parameters():
        nn.init.normal_(p, 1.0 if p.dim() == 1 else 0.0, 0.2)
    return model


def ids(batch: int = 3, tokens: int = 20) -> torch.Tensor:
    return torch.randint(0, 50, (batch, tokens), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_it_is_mixtral() -> None:
    """transformers' Mixtral with the same weights."""
    transformers = pytest.importorskip("transformers")
    model = small(router_noise=False, n_kv_head=2).float()
    plain: dict[str, Any] = {**SMALL, "experts": 0, "n_kv_head": 2}
    dense = GPT(**plain)
    names, config = to_llama({name: torch.tensor(0) for name in dense.state_dict()}, dense.config)
    config |= {"model_type": "mixtral", "num_local_experts": 5, "num_experts_per_tok": 2, "architectures": ["MixtralForCausalLM"]}
    theirs = transformers.MixtralForCausalLM(transformers.MixtralConfig(**config, sliding_window=None)).eval()
    own = model.state_dict()
    state = {new: own[old] for old, new in zip(dense.state_dict(), names, strict=True) if old in own}
    for layer in range(2):
        def stacked(part: str, layer: int = layer) -> torch.Tensor:
            return torch.stack([own[f"blocks.{layer}.mlp.experts.{i}.{part}.weight"] for i in range(5)])

        there = f"model.layers.{layer}.mlp"
        state[f"{there}.gate.weight"] = own[f"blocks.{layer}.mlp.router.weight"]
        state[f"{there}.experts.gate_up_proj"] = torch.cat((stacked("gate"), stacked("up")), 1)
        state[f"{there}.experts.down_proj"] = stacked("down")
    report = theirs.load_state_dict(state, strict=False)
    assert not report.unexpected_keys and set(report.missing_keys) <= {"lm_head.weight"}
    logits = theirs(ids()).logits
    assert logits.std() > 0.3
    torch.testing.assert_close(model(ids()), logits, rtol=0, atol=1e-4)


def test_one_expert_of_one_is_a_plain_layer() -> None:
    torch.manual_seed(0)
    mixture = Experts(8, 1, 1, lambda: SwiGLU(8, 12), noise=False, room=None)
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(mixture(x), mixture.experts[0](x))


def test_a_single_choice_is_weighted_by_its_probability_so_that_the_router_learns() -> None:
    """Switch Transformer, equation 2."""
    torch.manual_seed(0)
    mixture = Experts(8, 3, 1, lambda: SwiGLU(8, 12), noise=False, room=None).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    p = mixture.router(x).softmax(-1)
    best = p.argmax(-1)
    every = torch.stack([expert(x) for expert in mixture.experts], -1)
    wanted = every.gather(-1, best[..., None, None].expand(2, 5, 8, 1))[..., 0] * p.max(-1, keepdim=True).values
    torch.testing.assert_close(mixture(x), wanted)
    mixture(x).sum().backward()
    assert mixture.router.weight.grad is not None and mixture.router.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_cached_equals_recomputed_and_the_future_does_not_reach_the_past() -> None:
    model, cache = small(), small().new_cache(3)
    whole = model(ids())
    pieces = torch.cat([model(piece, cache) for piece in ids().split([7, 1, 5, 1, 6], dim=1)], 1)
    assert (pieces - whole).abs().max() < 1e-10


@torch.no_grad()
def test_samples_and_later_tokens_change_nothing_also_when_experts_are_full() -> None:
    """Training, with little room: the first tokens of the first sequence, whatever comes after and beside them."""
    model = small(expert_capacity=0.6, router_noise=False).train()
    free = small(router_noise=False).train()
    alone, other = ids()[:1], ids().clone()
    other[0, 12:] = (other[0, 12:] + 1) % 50
    assert torch.allclose(model(other)[0, :12], model(alone)[0, :12], rtol=0, atol=1e-12)
    assert not torch.allclose(model(alone), free(alone), atol=1e-3)  # or there was room enough and this could not fail
    assert torch.equal(model.eval()(alone), free.eval()(alone))  # in evaluation nothing overflows


def test_room_by_hand() -> None:
    """Two experts a token of three, two tokens each: the third token finds the likeliest full, the fourth but one, the fifth none."""
    scores = torch.tensor([[[3.0, 2, 1], [3, 2, 1], [3, 2, 1], [3, 2, 1], [3, 2, 1]]])
    chosen, taken = with_room(scores, 1, 2)
    assert chosen[0, :, 0].tolist()[:4] == [0, 0, 1, 1] and taken[0, :, 0].tolist() == [1, 1, 1, 1, 1]
    chosen, taken = with_room(scores, 2, 2)
    assert chosen[0, :2].tolist() == [[0, 1], [0, 1]] and taken[0].tolist() == [[1, 1], [1, 1], [1, 0], [1, 0], [0, 0]]
    assert chosen[0, 2, 0] == chosen[0, 3, 0] == 2


@torch.no_grad()
def test_a_token_that_no_expert_takes_passes_by() -> None:
    torch.manual_seed(0)
    mixture = Experts(8, 2, 2, lambda: SwiGLU(8, 12), noise=False, room=3).train()
    x = torch.randn(1, 5, 8)
    made = mixture(x)
    assert (made[:, 3:] == 0).all() and (made[:, :3] != 0).all()


def test_balance_is_one_where_even_and_the_number_of_experts_where_all_go_to_one() -> None:
    """Switch Transformer, equations 4 to 6: N sum f_i P_i is 1 under uniform routing."""
    real = torch.ones(2, 4, dtype=torch.bool)
    even = Routing(torch.full((2, 4, 4), 0.25), torch.arange(4).view(1, 4, 1).repeat(2, 1, 1))
    one = Routing(torch.eye(4)[torch.zeros(2, 4, dtype=torch.long)], torch.zeros(2, 4, 1, dtype=torch.long))
    assert torch.allclose(balance([even], real), torch.ones(2)) and torch.allclose(balance([one, even], real), torch.full((2,), 5.0))
    p, wanted = torch.randn(1, 6, 4).softmax(-1), torch.randint(0, 4, (1, 6, 1))
    f = torch.bincount(wanted.flatten(), minlength=4) / 6
    assert torch.allclose(balance([Routing(p, wanted)], torch.ones(1, 6, dtype=torch.bool)), 4 * (f * p.mean(1)).sum(-1))
    padded = Routing(torch.cat((p, torch.eye(4)[None, :2]), 1), torch.cat((wanted, torch.zeros(1, 2, 1, dtype=torch.long)), 1))
    real = torch.arange(8)[None] < 6
    assert torch.allclose(balance([padded], real), balance([Routing(p, wanted)], real[:, :6]))


def test_the_balance_loss_evens_out_what_the_experts_are_given() -> None:
    """A router that prefers one expert, taught by the balance loss alone."""
    torch.manual_seed(0)
    mixture, x = Experts(8, 4, 1, lambda: SwiGLU(8, 12), noise=False, room=None), torch.randn(8, 32, 8) + 0.5
    nn.init.constant_(mixture.router.weight[0], 0.5)

    def spread() -> tuple[torch.Tensor, float]:
        routings: list[Routing] = []
        mixture(x, routings)
        shares = torch.bincount(routings[0].wanted.flatten(), minlength=4) / 256
        return balance(routings, torch.ones(8, 32, dtype=torch.bool)).mean(), float(shares.max())

    before = spread()[1]
    optimizer = torch.optim.Adam([mixture.router.weight], 0.03)
    for _ in range(100):
        loss, _ = spread()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert before > 0.6 and spread()[1] < 0.4


def test_noise_is_a_matter_of_training_and_its_size_is_learned() -> None:
    model = small()
    assert torch.equal(model(ids()), model(ids()))
    model.train()
    assert not torch.equal(model(ids()), model(ids()))
    model(ids()).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for name, p in model.named_parameters() if "noise" in name)
    name = "blocks.0.mlp.noise.weight"
    assert (GPT(**SMALL).state_dict()[name] == 0).all() and name not in GPT(**SMALL, router_noise=False).state_dict()


@torch.no_grad()
def test_half_precision_routes_in_float32() -> None:
    model = small().float()
    routings: list[Routing] = []
    with torch.autocast("cpu", torch.bfloat16):
        model(ids(), routings=routings)
    assert routings[0].probabilities.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "message"), [({"experts_per_token": 6}, "from 1 to experts=5, received 6"), ({"expert_capacity": 0}, "above 0, received 0")]
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        GPT(**SMALL | changes)
    with pytest.raises(ModelError, match="mixture of experts"):
        to_llama({}, GPT(**SMALL).config)
