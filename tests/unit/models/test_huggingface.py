"""hf/<folder>: transformers' own numbers, whatever the way in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from liandan import models
from liandan.models import sampling
from liandan.models.gpt import GPT, to_llama
from liandan.models.weights import load_weights

transformers = pytest.importorskip("transformers")
IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2, 8, 1, 8]])


@pytest.fixture(scope="module", params=["llama tied", "llama", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of random weights, saved by transformers."""
    place = tmp_path_factory.mktemp("模型") / "small"
    torch.manual_seed(0)
    if request.param == "gpt2":
        made = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=32, n_positions=64, n_embd=16, n_layer=2, n_head=2))
    else:
        made = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                tie_word_embeddings=request.param == "llama tied", max_position_embeddings=64,
            )
        )  # fmt: skip
    made.save_pretrained(place)
    return place


def test_logits_are_those_of_transformers(folder: Path) -> None:
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ours: Any = models.build(f"hf/{folder}").eval()
    report = load_weights(ours, folder)
    assert report.loaded and not report.missing and not report.unexpected, report
    with torch.no_grad():
        assert torch.equal(ours(IDS), theirs(IDS).logits)
        made = torch.stack(list(sampling.generate(ours.step, IDS, 9, sampling.GREEDY, new_cache=ours.new_cache)), 1)
        wanted = theirs.generate(IDS, max_new_tokens=9, do_sample=False, eos_token_id=None, pad_token_id=0)[:, IDS.shape[1] :]
    assert torch.equal(made, wanted)


def test_padding_at_the_end_changes_nothing(folder: Path) -> None:
    ours = models.build(f"hf/{folder}").eval()
    longer = torch.nn.functional.pad(IDS, (0, 5))
    with torch.no_grad():
        assert torch.allclose(ours(longer)[:, :8], ours(IDS), atol=1e-6)


def test_our_gpt_as_such_a_folder_is_the_same_model(tmp_path: Path) -> None:
    torch.manual_seed(1)
    gpt = GPT(vocab_size=40, context=16, n_layer=2, n_head=4, n_kv_head=2, width=16).eval()
    tensors, config = to_llama(gpt.state_dict(), gpt.config)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    same = models.build(f"hf/{tmp_path}").eval()
    assert not load_weights(same, tmp_path).missing
    with torch.no_grad():
        assert torch.allclose(same(IDS), gpt(IDS), atol=1e-5)
    assert same.context == 16


@pytest.mark.parametrize(
    ("config", "message"),
    [(None, "expected a folder with config.json"), ('{"model_type": "none"}', "no model that transformers knows")],
)
def test_what_is_no_model_is_refused(tmp_path: Path, config: str | None, message: str) -> None:
    if config:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(models.ModelError, match=message):
        models.build(f"hf/{tmp_path}")


def test_code_that_comes_with_a_folder_is_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "modeling_own.py").write_text(f"open({str(canary)!r}, 'w')\nclass Own: pass\n")
    auto = {"AutoConfig": "modeling_own.Own", "AutoModelForCausalLM": "modeling_own.Own"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": auto}))
    with pytest.raises(models.ModelError):
        models.build(f"hf/{tmp_path}")
    assert not canary.exists()
