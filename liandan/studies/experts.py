"""Parameters of a language model from its config.json alone: in all, and active for one token in a mixture of experts.

    attention   heads d (q), 2 kv d (k, v), heads d (o), each times the width
    expert      3 width hidden          gate, up and down of a SwiGLU (Shazeer, "GLU variants improve Transformer", 2020)
    router      width experts           a layer's own (Jiang et al., "Mixtral of experts", 2024, section 2.1)

Active are all parameters but those of the experts that the router does not choose. By custom the embedding counts whole, although a
token reads one of its rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any


class ConfigError(ValueError):
    """A config.json that cannot be counted; the message says what is known."""


@dataclass(frozen=True)
class Family:
    """How a family's layers differ from Llama's."""

    qkv_bias: bool = False  # on query, key and value
    head_norms: bool = False  # an RMSNorm on each head's query and key
    experts: str = ""  # the key of config.json that counts a layer's experts
    hidden: str = "intermediate_size"  # the key of an expert's width


FAMILIES = {
    "llama": Family(),
    "mistral": Family(),
    "qwen2": Family(qkv_bias=True),
    "qwen3": Family(head_norms=True),
    "mixtral": Family(experts="num_local_experts"),
    "qwen3_moe": Family(head_norms=True, experts="num_experts", hidden="moe_intermediate_size"),
}


@dataclass(frozen=True)
class Accounting:
    """Numbers of parameters of a whole model, by what they are for.

    Attributes:
        mlp: of the layers that have no experts.
        experts: all experts of all layers.
        expert: one expert of one layer.
        chosen: experts a token goes through, summed over layers; 0 in a dense model.
        cache_numbers: keys and values kept for each token of a context.
    """

    embedding: int
    attention: int
    mlp: int
    router: int
    experts: int
    norms: int
    head: int
    expert: int = 0
    chosen: int = 0
    cache_numbers: int = 0

    @property
    def total(self) -> int:
        return self.embedding + self.attention + self.mlp + self.router + self.experts + self.norms + self.head

    @property
    def active(self) -> int:
        """For one token."""
        return self.total - self.experts + self.chosen * self.expert

    def to_json(self) -> dict[str, int]:
        return {**asdict(self), "total": self.total, "active": self.active}


def read_config(path: Path) -> dict[str, Any] | None:
    """The config.json at `path`, a file of that name or a folder with one; None when it is neither.

    Raises:
        ConfigError: it is not JSON, or not an object.
    """
    file = path / "config.json" if path.is_dir() else path
    if file.name != "config.json" or not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ConfigError(f"{file}: expected JSON, got: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: expected an object, got {type(found).__name__}")
    return found


def account(config: Mapping[str, Any]) -> Accounting:
    """Count the parameters of the causal language model that a config.json of transformers describes, or a liandan/gpt's own `config`.

    Raises:
        ConfigError: a family that is not in the table, or a key that is missing or no whole number above 0.
    """
    kind = config.get("model_type")
    if kind is None and "experts_per_token" in config:
        return _liandan(config)
    if kind == "gpt2":
        return _gpt2(config)
    if kind not in FAMILIES:
        raise ConfigError(f"model_type: expected one of gpt2, {', '.join(FAMILIES)}; got {kind!r}, whose layers are not known here")
    family = FAMILIES[kind]
    width, layers, heads = (_whole(config, key) for key in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
    kv = _whole(config, "num_key_value_heads", heads)
    dim = _whole(config, "head_dim", width // heads)
    vocabulary = _whole(config, "vocab_size")
    attention = width * dim * (2 * heads + 2 * kv)
    if family.qkv_bias or config.get("attention_bias"):
        attention += dim * (heads + 2 * kv)
    if config.get("attention_bias"):
        attention += width
    sparse = _sparse_layers(config, layers) if family.experts else 0
    dense = layers - sparse
    hidden = _whole(config, "intermediate_size") if dense else 0
    mlp = 3 * width * hidden + ((2 * hidden + width) if config.get("mlp_bias") else 0)
    experts = _whole(config, family.experts) if sparse else 0
    expert = 3 * width * _whole(config, family.hidden) if sparse else 0
    return Accounting(
        embedding=vocabulary * width,
        attention=layers * attention,
        mlp=dense * mlp,
        router=sparse * width * experts,
        experts=sparse * experts * expert,
        norms=layers * (2 * width + (2 * dim if family.head_norms else 0)) + width,
        head=0 if config.get("tie_word_embeddings") else vocabulary * width,
        expert=expert,
        chosen=sparse * _whole(config, "num_experts_per_tok") if sparse else 0,
        cache_numbers=2 * layers * kv * dim,
    )


def _sparse_layers(config: Mapping[str, Any], layers: int) -> int:
    """Layers that have experts: all, but those that `mlp_only_layers` names and `decoder_sparse_step` steps over."""
    step, without = _whole(config, "decoder_sparse_step", 1), set(config.get("mlp_only_layers") or ())
    return sum(layer not in without and (layer + 1) % step == 0 for layer in range(layers))


def _liandan(config: Mapping[str, Any]) -> Accounting:
    """liandan/gpt: a Llama, or with experts a Mixtral, whose router may have noise of its own."""
    found = account({
        "model_type": "mixtral" if config["experts"] else "llama", "vocab_size": config["vocab_size"], "hidden_size": config["width"],
        "num_hidden_layers": config["n_layer"], "num_attention_heads": config["n_head"], "num_key_value_heads": config["n_kv_head"],
        "intermediate_size": config["hidden"], "tie_word_embeddings": config["tied"], "num_local_experts": config["experts"],
        "num_experts_per_tok": config["experts_per_token"],
    })  # fmt: skip
    return replace(found, router=found.router * 2) if config["router_noise"] else found


def _gpt2(config: Mapping[str, Any]) -> Accounting:
    """GPT-2: learned positions, biases everywhere, LayerNorm, a head that is the embedding."""
    width, layers, vocabulary, positions = (_whole(config, key) for key in ("n_embd", "n_layer", "vocab_size", "n_positions"))
    hidden = _whole(config, "n_inner", 4 * width)
    return Accounting(
        embedding=(vocabulary + positions) * width,
        attention=layers * (4 * width * width + 4 * width),
        mlp=layers * (2 * width * hidden + hidden + width),
        router=0,
        experts=0,
        norms=layers * 4 * width + 2 * width,
        head=0 if config.get("tie_word_embeddings", True) else vocabulary * width,
        cache_numbers=2 * layers * width,
    )


def _whole(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{key}: expected a whole number above 0, got {value!r}")
    return value
