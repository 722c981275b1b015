"""Packed rows: nothing is lost or doubled, and a text computes what it would alone, in our GPT and in transformers' models."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liandan import models
from liandan.models import packing
from liandan.models.gpt import GPT
from liandan.tasks.sft import SFT

LENGTHS = [7, 3, 12, 5, 1, 9, 4]


def test_rows_are_long_where_that_spares_padding_and_no_longer() -> None:
    assert packing.cheapest([60] * 12, 96) == ([[i] for i in range(12)], 60)  # two do not fit
    for context, expected in ((320, (1, 300)), (250, (2, 180)), (100, (4, 100))):
        placed, filled = packing.cheapest([100, 40, 40, 40, 40, 40], context)
        assert (len(placed), filled) == expected
    placed, filled = packing.cheapest([500] * 8, 8000)
    assert filled == 500, "equal texts have no padding that longer rows could spare"
    assert packing.cheapest([0, 0], 10)[1] == 1 and packing.cheapest([7], 4)[1] == 7


@given(st.lists(st.integers(0, 40), min_size=1, max_size=40), st.integers(40, 90))
@settings(max_examples=40, deadline=None)
def test_every_text_lies_in_one_row_and_rows_are_few(lengths: list[int], width: int) -> None:
    found = packing.rows(lengths, width)
    assert sorted(itertools.chain(*found)) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in row) <= width for row in found)
    for earlier, later in itertools.combinations(found, 2):  # a row is begun only by what no row before it has room for
        assert sum(lengths[i] for i in earlier) + lengths[later[0]] > width
    assert found == packing.rows(lengths, width)


def test_tokens_lie_where_they_are_said_to() -> None:
    width = max(LENGTHS)
    batch = torch.arange(1, len(LENGTHS) * width + 1).view(len(LENGTHS), width)
    source, segments = packing.pack(LENGTHS, width, 2 * width)
    packed = packing.pick(batch, 0, source)
    for i, length in enumerate(LENGTHS):
        assert packed[segments == i].tolist() == batch[i, :length].tolist()
    assert (packed != 0).sum() == sum(LENGTHS) and len(packed) < len(LENGTHS)
    at, seen = packing.positions(segments), packing.visible(segments)
    for row, column in itertools.product(range(len(packed)), range(packed.shape[1])):
        own = segments[row] == segments[row, column]
        assert at[row, column] == own[:column].sum()
        assert torch.equal(seen[row, 0, column], own & (torch.arange(packed.shape[1]) <= column))


def gpt() -> Any:
    torch.manual_seed(0)
    return GPT(vocab_size=50, context=24, n_layer=2, n_head=4, n_kv_head=2, width=32)


def folder(kind: str, to: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    common: dict[str, Any] = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    if kind == "gpt2":
        dropouts: dict[str, Any] = {"attn_pdrop": 0, "resid_pdrop": 0, "embd_pdrop": 0}
        config = transformers.GPT2Config(vocab_size=50, n_positions=64, n_embd=32, n_layer=2, n_head=4, **dropouts)
        made = transformers.GPT2LMHeadModel(config)
    elif kind == "granite":  # scales its logits: its head is not all there is
        config = transformers.GraniteConfig(**common, num_key_value_heads=2, intermediate_size=48, logits_scaling=2.0)
        made = transformers.GraniteForCausalLM(config)
    else:
        made = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(**common, num_key_value_heads=2, intermediate_size=48, tie_word_embeddings=kind == "llama tied")
        )
    made.save_pretrained(to)
    model = models.build(f"hf/{to}")
    from liandan.models.weights import load_weights

    load_weights(model, to)
    return model


@pytest.mark.parametrize("kind", ["gpt", "llama", "llama tied", "gpt2", "granite"])
def test_packed_loss_and_gradient_are_those_of_the_texts_alone(kind: str, tmp_path: Path) -> None:
    model = (gpt() if kind == "gpt" else folder(kind, tmp_path)).double().train()
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 50, (len(LENGTHS), max(LENGTHS) + 1), generator=draw)
    weights = torch.rand(ids.shape, generator=draw, dtype=torch.float64) * (torch.rand(ids.shape, generator=draw) > 0.4)
    for i, length in enumerate(LENGTHS):
        weights[i, length + 1 :] = 0
    batch = {"ids": ids, "weights": weights, "filled": LENGTHS, "learned": (weights[:, 1:] != 0).sum(1).tolist(), "index": torch.arange(7)}
    found = []
    for packed in (False, True):
        task = SFT(None, None, {"vocab_size": 50, "context": 24, "stops": [], "packing": packed})
        model.zero_grad()
        sums, logs = task.loss(model, task.prepare(model, batch))
        sums["loss"].backward()
        found.append((sums["loss"].detach(), logs["token_accuracy"], {n: p.grad.clone() for n, p in model.named_parameters()}))
    (alone, right, gradients), (together, right_too, others) = found
    assert float(together) == pytest.approx(float(alone), rel=1e-12) and right == right_too
    scale = max(float(g.abs().max()) for g in gradients.values())
    assert scale > 1e-2 and all((gradients[n] - others[n]).abs().max() < 1e-11 * scale for n in gradients)
    logits = model.eval()(ids[:, :-1]).detach()  # through the whole model, as it is judged
    target = ids[:, 1:].masked_fill(weights[:, 1:] == 0, -100)
    plain = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
    assert float(alone) == pytest.approx(float((plain * weights[:, 1:].flatten()).sum()), rel=1e-10)


def test_a_model_whose_texts_see_one_another_is_told() -> None:
    model = gpt()
    assert packing.contamination(model) < 1e-5 and model.training
    ours = model.hidden
    model.hidden = lambda ids, segments=None: ours(ids)
    assert packing.contamination(model) > 1e-2
