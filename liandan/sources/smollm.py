"""SmolLM2's GGUF file as the folder that transformers loads, made with numpy alone.

The weights are those of the 4-bit file, written as bfloat16 (the type in which the model was trained): two bytes keep what four bits
hold to a part in 256, and training can go on from them.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from liandan.sources.entry import SourceError

_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_CONTROL = 3  # llama.cpp's token type of <|im_start|> and the like


def transformers_folder(raw: Path, made: Path) -> None:
    """`model.safetensors`, `config.json`, `generation_config.json`, `tokenizer.json`, `tokenizer_config.json`.

    The output layer is the embedding (`tie_word_embeddings`), so it is not written twice.
    """
    found = sorted(raw.rglob("*.gguf"))
    if len(found) != 1:
        raise SourceError(f"expected one .gguf file in what was fetched, got {len(found)}")
    reader = gguf.GGUFReader(found[0])
    facts = {name: field.contents() for name, field in reader.fields.items()}
    heads = {"attn_q": facts["llama.attention.head_count"], "attn_k": facts["llama.attention.head_count_kv"]}
    tensors: dict[str, np.ndarray] = {}
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)  # (out, in) or (channels,)
        kind = tensor.name.split(".")[-2]
        if kind in heads:
            values = _interleaved_to_halves(values, heads[kind])
        tensors[_name(tensor.name)] = bfloat16(values)
    made.mkdir(parents=True)
    _save(tensors, made / "model.safetensors")
    for name, content in (
        ("config.json", _config(facts)),
        ("generation_config.json", _ids(facts)),
        ("tokenizer.json", _tokenizer(facts)),
        ("tokenizer_config.json", _tokenizer_config(facts)),
    ):
        (made / name).write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")


def _name(name: str) -> str:
    """llama.cpp's name of a tensor -> transformers'."""
    if not name.startswith("blk."):
        return {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}[name]
    _, layer, kind, end = name.split(".")
    return f"model.layers.{layer}.{_LAYER[kind]}.{end}"


def _interleaved_to_halves(weight: np.ndarray, heads: int) -> np.ndarray:
    """(heads x dim, in): llama.cpp turns neighboring rows of a head by one angle, transformers row i with row i + dim / 2 (RoPE)."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def bfloat16(values: np.ndarray) -> np.ndarray:
    """float32 -> the bits of bfloat16 as uint16, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))) >> 16).astype("<u2")


def _save(tensors: dict[str, np.ndarray], path: Path) -> None:
    """A safetensors file. The library writes bfloat16 only from torch; the format is a length, a JSON header and the bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, bits in tensors.items():
        start, end = end, end + bits.nbytes
        header[name] = {"dtype": "BF16", "shape": list(bits.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data begin at a multiple of 8
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for bits in tensors.values():
            out.write(bits.tobytes())


def _ids(facts: dict[str, Any]) -> dict[str, int]:
    roles = {"bos": "bos", "eos": "eos", "pad": "padding"}
    return {f"{role}_token_id": facts[f"tokenizer.ggml.{key}_token_id"] for role, key in roles.items()}


def _config(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": facts["llama.vocab_size"],
        "hidden_size": facts["llama.embedding_length"],
        "intermediate_size": facts["llama.feed_forward_length"],
        "num_hidden_layers": facts["llama.block_count"],
        "num_attention_heads": facts["llama.attention.head_count"],
        "num_key_value_heads": facts["llama.attention.head_count_kv"],
        "max_position_embeddings": facts["llama.context_length"],
        "rms_norm_eps": float(f"{facts['llama.attention.layer_norm_rms_epsilon']:.6g}"),  # a float32 in the file
        "rope_theta": facts["llama.rope.freq_base"],
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        **_ids(facts),
    }


def _tokenizer(facts: dict[str, Any]) -> dict[str, Any]:
    """Byte-level BPE whose digits stand alone ("smollm" in llama.cpp), in the format of the tokenizers library."""
    tokens = facts["tokenizer.ggml.tokens"]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": tokens[i], **plain} for i, kind in enumerate(facts["tokenizer.ggml.token_type"]) if kind == _CONTROL
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, bytes_]},
        "post_processor": None,
        "decoder": bytes_,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": facts["tokenizer.ggml.merges"],
        },
    }


def _tokenizer_config(facts: dict[str, Any]) -> dict[str, Any]:
    tokens = facts["tokenizer.ggml.tokens"]
    ids = {**_ids(facts), "unk_token_id": facts["tokenizer.ggml.unknown_token_id"]}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",  # reads tokenizer.json as it is
        **{f"{role}_token": tokens[ids[f"{role}_token_id"]] for role in ("bos", "eos", "pad", "unk")},
        "model_max_length": facts["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        "chat_template": facts["tokenizer.chat_template"],
    }
