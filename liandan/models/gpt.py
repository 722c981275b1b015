"""A decoder-only language model of the Llama family, in one file.

    RMSNorm before each part        Zhang and Sennrich, "Root mean square layer normalization" (2019)
    rotary positions                Su et al., "RoFormer" (2021), equation 34, dimension i paired with i + head_dim/2 as in Llama's weights
    grouped-query attention         Ainslie et al., "GQA" (2023)
    SwiGLU                          Shazeer, "GLU variants improve Transformer" (2020)
    tied embeddings                 Press and Wolf, "Using the output embedding to improve language models" (2017)
    mixture of experts, if asked    see `experts`
    initialization                  Radford et al., "Language models are unsupervised multitask learners" (2019), section 2.3:
                                    N(0, 0.02), projections into the residual stream scaled by 1 / sqrt(2 n_layer)

Shapes: B batch, T tokens of this call, L tokens seen so far, H query heads, K key and value heads, D = width / H.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liandan.models import ModelError, packing
from liandan.models.experts import Experts, Routing, room_for


@dataclass
class Cache:
    """Keys and values of the tokens seen so far. `GPT.forward` writes into it and moves `position` on."""

    keys: Tensor  # (n_layer, B, K, length, D), rotated
    values: Tensor  # (n_layer, B, K, length, D)
    start: Tensor | None = None  # int64 (B,): the column at which each sequence begins; None: all at 0
    position: int = 0  # columns held

    @property
    def length(self) -> int:
        return self.keys.shape[3]

    def reorder(self, rows: Tensor) -> None:
        """Become the cache of the sequences `rows` int64 (B',) of those there were."""
        self.keys, self.values = self.keys.index_select(1, rows), self.values.index_select(1, rows)
        self.start = None if self.start is None else self.start[rows]

    def visible(self, tokens: int) -> Tensor | None:
        """What each of `tokens` new queries sees: bool (T, L) or (B, 1, T, L), L all that is held then; None: whatever is not after it."""
        if self.start is None and (self.position == 0 or tokens == 1):
            return None
        columns = torch.arange(self.position + tokens, device=self.keys.device)
        queries = columns[self.position :, None]
        if self.start is None:
            return columns <= queries
        # Padding sees itself, for a softmax over nothing is no number; nobody else sees it.
        return (columns <= queries) & (columns >= self.start[:, None, None, None]) | (columns == queries)


def rotary(positions: Tensor, dim: int, base: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines (..., dim/2) of the angles position * base^(-2i/dim), for positions (...).

    Made anew in each forward, in `dtype` (at least float32): half precision cannot hold the angle of a late position, and a stored
    table would follow the weights into it.
    """
    frequencies = base ** (torch.arange(0, dim, 2, device=positions.device, dtype=dtype) / -dim)
    angles = positions.to(dtype)[..., None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i + D/2}) of x (B, heads, T, D) by its angle."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


class Attention(nn.Module):
    """Causal self-attention, H query heads sharing K key and value heads."""

    def __init__(self, width: int, n_head: int, n_kv_head: int, dropout: float) -> None:
        super().__init__()
        self.n_head, self.n_kv_head, self.head_dim, self.dropout = n_head, n_kv_head, width // n_head, dropout
        self.query = nn.Linear(width, n_head * self.head_dim, bias=False)
        self.key = nn.Linear(width, n_kv_head * self.head_dim, bias=False)
        self.value = nn.Linear(width, n_kv_head * self.head_dim, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None, layer: int, mask: Tensor | None) -> Tensor:
        batch, tokens, width = x.shape

        def heads(y: Tensor, n: int) -> Tensor:
            return y.view(batch, tokens, n, self.head_dim).transpose(1, 2)

        q = rotate(heads(self.query(x), self.n_head), cos, sin)
        k = rotate(heads(self.key(x), self.n_kv_head), cos, sin)
        v = heads(self.value(x), self.n_kv_head)
        past = 0
        if cache is not None:
            past, end = cache.position, cache.position + tokens
            cache.keys[layer, :, :, past:end] = k
            cache.values[layer, :, :, past:end] = v
            k, v = cache.keys[layer, :, :, :end].to(q.dtype), cache.values[layer, :, :, :end].to(q.dtype)
        # Query i of this call is token past + i and sees keys 0..past + i. `is_causal` means that only when nothing is past,
        # and a single query, the newest token, sees all there is.
        y = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            is_causal=past == 0 and mask is None,
            dropout_p=self.dropout if self.training else 0.0,
            enable_gqa=self.n_kv_head != self.n_head,
        )
        return self.out(y.transpose(1, 2).reshape(batch, tokens, width))


class SwiGLU(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self, width: int, n_head: int, n_kv_head: int, dropout: float, norm_eps: float, mlp: nn.Module) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(width, eps=norm_eps)
        self.attention = Attention(width, n_head, n_kv_head, dropout)
        self.mlp_norm = nn.RMSNorm(width, eps=norm_eps)
        self.mlp = mlp
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        cache: Cache | None,
        layer: int,
        mask: Tensor | None,
        routings: list[Routing] | None,
    ) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), cos, sin, cache, layer, mask))
        normed = self.mlp_norm(x)
        return x + self.dropout(self.mlp(normed, routings) if isinstance(self.mlp, Experts) else self.mlp(normed))


class GPT(nn.Module):
    """ids int64 (B, T) -> logits (B, T, vocab_size), float32 or wider.

    Args:
        vocab_size: number of tokens.
        context: most tokens it attends over.
        n_layer, n_head: depth, query heads.
        n_kv_head: key and value heads, a divisor of n_head; None: as many as n_head.
        width: of the residual stream; width / n_head must be even.
        hidden: of the SwiGLU; None: 8/3 width, rounded up to a multiple of 32 (as many weights as a plain MLP of 4 width).
        dropout: probability, on embeddings, attention weights and both residual branches.
        rope_base: theta of the rotary frequencies.
        tied: the head is the embedding matrix.
        norm_eps: of RMSNorm.
        experts: SwiGLUs in each layer, of `hidden` each; 0: one, through which every token goes.
        experts_per_token: of them, those a token goes through.
        router_noise: whether the router is noisy while it trains.
        expert_capacity: an expert takes so many times its fair part of a full context's tokens, while it trains; None: all.
        balance: weight of the load-balancing loss, see `experts.balance`.
    """

    def __init__(
        self,
        vocab_size: int,
        context: int,
        n_layer: int = 4,
        n_head: int = 4,
        n_kv_head: int | None = None,
        width: int = 128,
        hidden: int | None = None,
        dropout: float = 0.0,
        rope_base: float = 10000.0,
        tied: bool = True,
        norm_eps: float = 1e-5,
        experts: int = 0,
        experts_per_token: int = 2,
        router_noise: bool = True,
        expert_capacity: float | None = None,
        balance: float = 0.01,
    ) -> None:
        super().__init__()
        n_kv_head = n_kv_head or n_head
        hidden = hidden or math.ceil(width * 8 / 3 / 32) * 32
        if width % n_head or (width // n_head) % 2:
            near = 2 * n_head * max(1, width // n_head // 2)
            raise ModelError(f"expected width / n_head to be an even integer, received {width} / {n_head}; try width={near}")
        if n_head % n_kv_head:
            raise ModelError(f"expected n_kv_head to divide n_head={n_head}, received {n_kv_head}")
        if experts and not 1 <= experts_per_token <= experts:
            raise ModelError(f"expected experts_per_token from 1 to experts={experts}, received {experts_per_token}")
        if expert_capacity is not None and not expert_capacity > 0:
            raise ModelError(f"expected expert_capacity above 0, received {expert_capacity}; 1 is the fair part, null no bound")
        self.config: dict[str, Any] = {
            "vocab_size": vocab_size, "context": context, "n_layer": n_layer, "n_head": n_head, "n_kv_head": n_kv_head, "width": width,
            "hidden": hidden, "dropout": dropout, "rope_base": rope_base, "tied": tied, "norm_eps": norm_eps, "experts": experts,
            "experts_per_token": experts_per_token, "router_noise": router_noise, "expert_capacity": expert_capacity, "balance": balance,
        }  # fmt: skip
        self.balance = balance if experts else 0.0

        def mlp() -> nn.Module:
            if not experts:
                return SwiGLU(width, hidden)
            room = room_for(expert_capacity, context, experts_per_token, experts)
            return Experts(width, experts, experts_per_token, lambda: SwiGLU(width, hidden), router_noise, room)

        self.context, self.rope_base, self.head_dim = context, rope_base, width // n_head
        self.embedding = nn.Embedding(vocab_size, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, n_head, n_kv_head, dropout, norm_eps, mlp()) for _ in range(n_layer))
        self.norm = nn.RMSNorm(width, eps=norm_eps)
        # Tied, there is no second name for the embedding: a checkpoint holds each tensor once.
        self.head = None if tied else nn.Linear(width, vocab_size, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for name, p in self.named_parameters():
            if p.dim() < 2:
                continue  # the gains of RMSNorm stay at one
            into_residual = name.endswith(("attention.out.weight", "down.weight"))
            nn.init.normal_(p, 0.0, 0.02 / (math.sqrt(2 * len(self.blocks)) if into_residual else 1.0))
            if name.endswith("mlp.noise.weight"):
                nn.init.zeros_(p)  # noise of one size for all (Shazeer et al., 2017, appendix A)

    def new_cache(self, batch: int, length: int | None = None, start: Tensor | None = None) -> Cache:
        """Room for `length` tokens (None: the context) of `batch` sequences, on the model's device, in the type attention computes in.

        Args:
            start: int64 (B,), the column at which each sequence begins; what stands before is padding. Their positions need no other
                count: rotary attention sees distances alone.
        """
        length = length or self.context
        if length > self.context:
            raise ValueError(f"expected a cache of at most context={self.context} tokens, received {length}")
        device, dtype = self.embedding.weight.device, self.embedding.weight.dtype
        if torch.is_autocast_enabled(device.type):
            dtype = torch.get_autocast_dtype(device.type)
        shape = (len(self.blocks), batch, self.config["n_kv_head"], length, self.head_dim)
        return Cache(torch.zeros(shape, device=device, dtype=dtype), torch.zeros(shape, device=device, dtype=dtype), start)

    def hidden(
        self, ids: Tensor, cache: Cache | None = None, routings: list[Routing] | None = None, segments: Tensor | None = None
    ) -> Tensor:
        """The normalized residual stream (B, T, width) that the head reads.

        Args:
            ids, cache, routings: as in `forward`.
            segments: int64 (B, T), the number of the text that each token belongs to, where a row holds several; see models.packing.
        """
        past, tokens = (cache.position if cache else 0), ids.shape[1]
        room = cache.length if cache else self.context
        if past + tokens > room:
            raise ValueError(
                f"expected at most {room} tokens, received {past} cached and {tokens} new; cut the sequence or raise `context`"
            )
        x = self.dropout(self.embedding(ids))
        precise = torch.float64 if self.embedding.weight.dtype == torch.float64 else torch.float32
        at, mask = torch.arange(past, past + tokens, device=ids.device), cache.visible(tokens) if cache else None
        if segments is not None:
            at, mask = packing.positions(segments)[:, None], packing.visible(segments)  # one axis more, for the heads
        cos, sin = rotary(at, self.head_dim, self.rope_base, precise)
        for layer, block in enumerate(self.blocks):
            x = block(x, cos, sin, cache, layer, mask, routings)
        if cache is not None:
            cache.position = past + tokens
        return self.norm(x)

    def forward(self, ids: Tensor, cache: Cache | None = None, routings: list[Routing] | None = None) -> Tensor:
        """Logits of the token after each of `ids`.

        Args:
            ids: int64 (B, T).
            cache: what came before `ids`; extended in place. None: nothing came before.
            routings: to which each layer of experts appends what its router did.

        Raises:
            ValueError: more tokens than the context or the cache holds.
        """
        return self.logits(self.hidden(ids, cache, routings))

    def step(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits (B, vocab_size) after the last of tokens (B, T): what `sampling.generate` walks on.

        Without gradients; call eval() first, or dropout is in it.
        """
        with torch.no_grad():
            return self.logits(self.hidden(tokens, cache)[:, -1])

    @property
    def head_weights(self) -> list[Tensor]:
        """What `logits` computes with."""
        return [self.embedding.weight if self.head is None else self.head.weight]

    def logits(self, x: Tensor) -> Tensor:
        """What the head makes of hidden states (..., width): float32 or wider (..., vocab_size)."""
        logits = F.linear(x, self.embedding.weight) if self.head is None else self.head(x)
        return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


_LLAMA_BLOCK = {
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}
_LLAMA = {"embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}


def to_llama(state_dict: Mapping[str, Tensor], config: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Rename the tensors of a GPT to those of transformers' LlamaForCausalLM; no tensor is changed or copied.

    Args:
        state_dict: of a GPT.
        config: its `config`.

    Returns:
        The renamed tensors (tied: without lm_head.weight, as transformers itself stores them) and the contents of config.json.

    Raises:
        ModelError: it is a mixture of experts, which Llama is not.
    """
    if config.get("experts"):
        raise ModelError("a mixture of experts has no form among transformers' Llamas; only a dense liandan/gpt is written as one")
    renamed: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        module = name.removesuffix(".weight")
        if module.startswith("blocks."):
            _, layer, part = module.split(".", 2)
            renamed[f"model.layers.{layer}.{_LLAMA_BLOCK[part]}.weight"] = tensor
        else:
            renamed[f"{_LLAMA[module]}.weight"] = tensor
    return renamed, {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config["vocab_size"],
        "hidden_size": config["width"],
        "intermediate_size": config["hidden"],
        "num_hidden_layers": config["n_layer"],
        "num_attention_heads": config["n_head"],
        "num_key_value_heads": config["n_kv_head"],
        "head_dim": config["width"] // config["n_head"],
        "max_position_embeddings": config["context"],
        "rms_norm_eps": config["norm_eps"],
        "rope_theta": config["rope_base"],  # before transformers 5
        "rope_parameters": {"rope_type": "default", "rope_theta": config["rope_base"]},  # from transformers 5
        "tie_word_embeddings": config["tied"],
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "attention_dropout": config["dropout"],
        "initializer_range": 0.02,
    }
