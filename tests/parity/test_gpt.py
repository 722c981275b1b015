"""Against transformers' Llama with the same weights: every tensor is renamed, none is changed."""

from typing import Any

import pytest
import torch

from liandan.models.gpt import GPT, to_llama

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_kv_head": 2, "tied": False},
        {"n_kv_head": 1, "rope_base": 500_000.0, "hidden": 72, "norm_eps": 1e-3},
    ],
)
@torch.no_grad()
def test_logits_are_llamas(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = GPT(vocab_size=97, context=64, n_layer=3, n_head=4, width=64, **options).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, 1.0 if p.dim() == 1 else 0.0, 0.1)
    state, config = to_llama(model.state_dict(), model.config)
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config)).eval()
    report = llama.load_state_dict(state, strict=False)
    assert report.unexpected_keys == [] and report.missing_keys == (["lm_head.weight"] if model.head is None else [])
    ids = torch.randint(0, 97, (3, 64))
    ours, theirs = model(ids), llama(ids).logits
    assert theirs.std() > 0.3 and (ours - theirs).abs().max() < 1e-5
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in llama.parameters())


@torch.no_grad()
def test_greedy_text_is_llamas() -> None:
    from liandan.models.sampling import GREEDY, generate

    torch.manual_seed(0)
    model = GPT(vocab_size=97, context=64, n_layer=2, n_head=4, n_kv_head=2, width=64).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, 1.0 if p.dim() == 1 else 0.0, 0.1)
    state, config = to_llama(model.state_dict(), model.config)
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config)).eval()
    llama.load_state_dict(state, strict=False)
    prompt = torch.randint(0, 97, (2, 5))
    ours = torch.stack(list(generate(model.step, prompt, 20, how=GREEDY, new_cache=model.new_cache)), 1)
    whole = torch.ones_like(prompt)  # left out, it takes token 0 of the prompt for padding
    theirs = llama.generate(prompt, attention_mask=whole, max_new_tokens=20, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert torch.equal(ours, theirs[:, 5:])
