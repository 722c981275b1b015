import math
from typing import Any

import pytest
import torch

from liandan.models import ModelError
from liandan.models.gpt import GPT, rotary, rotate

SMALL: dict[str, Any] = {"vocab_size": 50, "context": 24, "n_layer": 3, "n_head": 4, "width": 32}


def small(dtype: torch.dtype = torch.float32, **changes: Any) -> GPT:
    torch.manual_seed(0)
    model = GPT(**SMALL | changes).to(dtype).eval()
    for p in model.parameters():  # the initialization is too small to tell one logit from another
        torch.nn.init.normal_(p, 1.0 if p.dim() == 1 else 0.0, 0.2)
    return model


def ids(batch: int = 2, tokens: int = 20) -> torch.Tensor:
    return torch.randint(0, 50, (batch, tokens), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("n_kv_head", [4, 2, 1])
@pytest.mark.parametrize("chunks", [[20], [1] * 20, [7, 1, 5, 1, 6], [1, 19]])
@torch.no_grad()
def test_cached_equals_recomputed(dtype: torch.dtype, bound: float, n_kv_head: int, chunks: list[int]) -> None:
    model, tokens = small(dtype, n_kv_head=n_kv_head), ids()
    whole, cache = model(tokens), model.new_cache(2)
    pieces = [model(piece, cache) for piece in tokens.split(chunks, dim=1)]
    assert cache.position == 20 and whole.dtype == dtype
    scale = whole.abs().max()
    assert scale > 0.5 and (torch.cat(pieces, 1) - whole).abs().max() < bound * max(1.0, scale.item())


@torch.no_grad()
def test_grouped_queries_equal_repeated_heads() -> None:
    grouped, full = small(torch.float64, n_kv_head=2), small(torch.float64)
    state = grouped.state_dict()
    for name, tensor in state.items():
        if name.endswith(("attention.key.weight", "attention.value.weight")):  # head j of 4 reads key and value head j // 2
            state[name] = tensor.view(2, 8, 32).repeat_interleave(2, 0).reshape(32, 32)
    full.load_state_dict(state)
    torch.testing.assert_close(full(ids()), grouped(ids()), rtol=0, atol=1e-12)


def test_rotation_depends_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64)

    def product(at: int, other: int) -> float:
        cos, sin = rotary(torch.tensor([at, other]), 16, 10000.0, torch.float64)
        return (rotate(q, cos[:1], sin[:1]) * rotate(k, cos[1:], sin[1:])).sum().item()

    assert math.isclose(product(3, 11), product(903, 911), abs_tol=1e-12)
    assert not math.isclose(product(3, 11), product(3, 12), abs_tol=1e-3)
    assert math.isclose(product(0, 0), (q * k).sum().item(), abs_tol=1e-12)


def test_rotation_is_the_papers_in_half_split_order() -> None:
    x = torch.arange(1.0, 5.0, dtype=torch.float64).view(1, 1, 1, 4)
    cos, sin = rotary(torch.tensor([7]), 4, 10000.0, torch.float64)
    expected = []
    for i, angle in enumerate((7.0, 7.0 / 100)):
        pair = complex(x[0, 0, 0, i], x[0, 0, 0, i + 2]) * complex(math.cos(angle), math.sin(angle))
        expected.append(pair)
    want = [expected[0].real, expected[1].real, expected[0].imag, expected[1].imag]
    torch.testing.assert_close(rotate(x, cos, sin).flatten(), torch.tensor(want, dtype=torch.float64))


@torch.no_grad()
def test_the_future_does_not_reach_the_past() -> None:
    model, tokens = small(torch.float64), ids()
    other = tokens.clone()
    other[:, 12:] = (other[:, 12:] + 1) % 50
    before, after = model(tokens), model(other)
    assert torch.equal(before[:, :12], after[:, :12]) and (before[:, 12] - after[:, 12]).abs().max() > 1e-3


@pytest.mark.parametrize(("tied", "n_kv_head", "hidden"), [(True, None, None), (False, 2, None), (False, 1, 40)])
def test_parameters_by_hand(tied: bool, n_kv_head: int | None, hidden: int | None) -> None:
    model = GPT(**SMALL, tied=tied, n_kv_head=n_kv_head, hidden=hidden)
    w, f, kv = 32, hidden or 96, 32 * (n_kv_head or 4) // 4  # 8/3 * 32 = 85.3, rounded up to 96
    block = 2 * w * w + 2 * w * kv + 3 * w * f + 2 * w
    assert sum(p.numel() for p in model.parameters()) == 50 * w * (1 if tied else 2) + 3 * block + w
    assert ("head.weight" in model.state_dict()) is not tied


def test_initialization_scales_what_enters_the_residual_stream() -> None:
    torch.manual_seed(0)
    state = GPT(vocab_size=500, context=8, n_layer=8, width=128).state_dict()
    assert abs(state["embedding.weight"].std() - 0.02) < 5e-4
    assert abs(state["blocks.0.mlp.down.weight"].std() - 0.02 / 4) < 1e-4
    assert abs(state["blocks.5.attention.out.weight"].std() - 0.02 / 4) < 1e-4
    assert (state["norm.weight"] == 1).all()


@torch.no_grad()
def test_half_precision_keeps_positions_and_logits_wide() -> None:
    model, tokens = small(), ids()
    with torch.autocast("cpu", torch.bfloat16):
        logits, cache = model(tokens), model.new_cache(2)
        stepped = torch.cat([model(piece, cache) for piece in tokens.split(5, dim=1)], 1)
    assert logits.dtype == torch.float32 and cache.keys.dtype == torch.bfloat16
    scale = model(tokens).abs().max()
    assert (logits - model(tokens)).abs().max() < 0.05 * scale and (stepped - logits).abs().max() < 0.05 * scale
    assert small(torch.bfloat16)(tokens).dtype == torch.float32
    cos, _ = rotary(torch.tensor([100_001]), 8, 10000.0, torch.float32)
    assert abs(cos[0, 0] - math.cos(100_001)) < 1e-3


def test_compiles_whole_and_once_for_all_lengths() -> None:
    model, frames = small(), []

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Any:
        frames.append(graph)
        return graph.forward

    compiled = torch.compile(model, backend=backend, fullgraph=True, dynamic=True)
    for length in (5, 9, 20):
        torch.testing.assert_close(compiled(ids(3, length)), model(ids(3, length)))
    assert len(frames) == 1


def test_dropout_only_in_training() -> None:
    model = small(dropout=0.5)
    assert torch.equal(model(ids()), model(ids()))
    model.train()
    assert not torch.equal(model(ids()), model(ids()))


def test_refusals() -> None:
    with pytest.raises(ModelError, match="even integer, received 30 / 4; try width=24"):
        GPT(vocab_size=5, context=5, width=30)
    with pytest.raises(ModelError, match="divide n_head=4, received 3"):
        GPT(vocab_size=5, context=5, n_kv_head=3)
    model = small()
    with pytest.raises(ValueError, match="at most 24 tokens, received 0 cached and 25 new"):
        model(ids(1, 25))
    with pytest.raises(ValueError, match="at most context=24 tokens, received 25"):
        model.new_cache(1, 25)
    cache = model.new_cache(1, 6)
    model.step(ids(1, 4), cache)
    with pytest.raises(ValueError, match="at most 6 tokens, received 4 cached and 3 new"):
        model.step(ids(1, 3), cache)


def test_it_learns_to_copy() -> None:
    torch.manual_seed(0)
    model = GPT(vocab_size=8, context=16, n_layer=2, n_head=2, width=32)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(150):
        half = torch.randint(0, 8, (32, 8))
        tokens = torch.cat((half, half), 1)
        loss = torch.nn.functional.cross_entropy(model(tokens[:, :-1])[:, 7:].flatten(0, 1), tokens[:, 8:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3  # chance is ln 8 = 2.08
