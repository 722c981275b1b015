"""Parameters from a config.json, against the models that transformers builds from it (on the meta device) and published totals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from liandan.studies.experts import ConfigError, account, read_config
from tests.zygote import Zygote

transformers = pytest.importorskip("transformers")

MIXTRAL = {
    "model_type": "mixtral", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2, "tie_word_embeddings": False,
}  # fmt: skip
SMOLLM2 = {  # SmolLM2-135M
    "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True,
}  # fmt: skip
GPT2 = {"model_type": "gpt2", "vocab_size": 50257, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "n_inner": None}
SMALL = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}
CONFIGS: dict[str, dict[str, Any]] = {
    "mixtral 8x7B": MIXTRAL,
    "smollm2 135M": SMOLLM2,
    "gpt2": GPT2,
    "gpt2, another inner width": {**GPT2, "n_inner": 100},
    "llama, biases": {**SMALL, "model_type": "llama", "num_key_value_heads": 2, "attention_bias": True, "mlp_bias": True, "head_dim": 12},
    "mistral": {**SMALL, "model_type": "mistral", "num_key_value_heads": 2},
    "qwen2": {**SMALL, "model_type": "qwen2", "num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen3": {**SMALL, "model_type": "qwen3", "num_key_value_heads": 2, "head_dim": 16},
    "qwen3 moe, some layers dense": {
        **SMALL, "model_type": "qwen3_moe", "num_key_value_heads": 2, "head_dim": 16, "num_experts": 6, "num_experts_per_tok": 2,
        "moe_intermediate_size": 20, "mlp_only_layers": [0], "decoder_sparse_step": 2,
    },
}  # fmt: skip


def built(config: dict[str, Any]) -> int:
    """Parameters of the model that transformers makes of a config."""
    import torch

    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**config))
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", CONFIGS)
def test_the_total_is_what_transformers_builds(name: str) -> None:
    assert account(CONFIGS[name]).total == built(CONFIGS[name])


def test_mixtral_has_the_published_numbers() -> None:
    """46.7 B parameters, 12.9 B of them active (Jiang et al. 2024, section 2.1); worked out by hand to the last one."""
    found = account(MIXTRAL)
    assert (found.total, found.active) == (46_702_792_704, 12_879_925_248)
    assert found.attention == 32 * 41_943_040 == 1_342_177_280
    assert found.router == 32 * 8 * 4096
    assert found.experts == 8 * 5_637_144_576 and found.chosen * found.expert == 11_274_289_152
    assert found.embedding == found.head == 131_072_000


def test_active_is_what_a_model_of_the_chosen_experts_alone_would_have() -> None:
    """Transformers' Mixtral with two experts a layer, and the router of eight instead of that of two."""
    found = account(MIXTRAL)
    assert found.active == built({**MIXTRAL, "num_local_experts": 2}) + 32 * 4096 * (8 - 2)


@pytest.mark.parametrize("name", ["smollm2 135M", "gpt2"])
def test_in_a_dense_model_all_is_active(name: str) -> None:
    found = account(CONFIGS[name])
    assert found.active == found.total and found.experts == found.router == 0
    assert found.total == {"smollm2 135M": 134_515_008, "gpt2": 124_439_808}[name]


@pytest.mark.parametrize(
    "changes", [{}, {"tied": False, "n_kv_head": 2}, {"experts": 6}, {"experts": 5, "experts_per_token": 1, "router_noise": False}]
)
def test_liandan_gpt_is_counted_by_its_own_config(changes: dict[str, Any]) -> None:
    from liandan.models.gpt import GPT

    model = GPT(vocab_size=50, context=8, n_layer=3, n_head=4, width=32, **changes)
    found = account(model.config)
    assert found.total == sum(p.numel() for p in model.parameters())
    unused = (model.config["experts"] - model.config["experts_per_token"]) * 3 if model.config["experts"] else 0
    assert found.active == found.total - unused * 3 * 32 * model.config["hidden"]


def test_cached_numbers_are_those_of_the_cache_of_transformers() -> None:
    import torch

    config = transformers.AutoConfig.for_model(**CONFIGS["qwen3"])
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        cache = model(torch.zeros(1, 5, dtype=torch.int64), use_cache=True).past_key_values
    numbers = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert numbers == 5 * account(CONFIGS["qwen3"]).cache_numbers


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "deepseek_v3"}, "deepseek_v3"), ({"model_type": None}, "model_type"), ({"hidden_size": "4096"}, "hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"), ({"num_local_experts": True}, "num_local_experts"),
    ],
)  # fmt: skip
def test_what_cannot_be_counted_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        account({**MIXTRAL, **change})


def test_a_config_is_known_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(MIXTRAL), encoding="utf-8")
    (tmp_path / "问答.json").write_text("[]", encoding="utf-8")
    assert read_config(tmp_path) == read_config(tmp_path / "config.json") == MIXTRAL
    assert read_config(tmp_path / "问答.json") is None and read_config(tmp_path / "nothing") is None
    (tmp_path / "config.json").write_text("[1", encoding="utf-8")
    with pytest.raises(ConfigError, match="JSON"):
        read_config(tmp_path)


def test_the_command_tells_them(zygote: Zygote, tmp_path: Path) -> None:
    folder = tmp_path / "混合专家"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(MIXTRAL), encoding="utf-8")
    child = zygote.run("plan", str(folder), cwd=tmp_path)
    assert child.wait() == 0, child.text()
    assert "46.70 B" in child.text() and "12.88 B" in child.text()
    child = zygote.run("plan", str(folder), "--json", cwd=tmp_path)
    assert child.wait() == 0 and json.loads(child.text())["active"] == 12_879_925_248
    (folder / "config.json").write_text("{}", encoding="utf-8")
    child = zygote.run("plan", str(folder), cwd=tmp_path)
    assert child.wait() == 2 and "model_type" in child.text()
