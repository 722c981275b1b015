"""A Llama's step, made for reading one token at a time: liandan/gpt's arithmetic on weights that are packed once.

A step of one token is as fast as its weights can be read, and as the program between the matrices is short. So the weights are kept in
the type they are used in; the matrices that read the same vector are one (query, key and value; gate and up), the gain of a norm is part
of the matrix behind it, and the queries that share a key are rows of one product rather than heads with repeated keys.

A token needs every weight once, so bytes decide: half as many in bfloat16, a quarter in int8. The first two are the model's own arithmetic;
int8 is another model, near the first, and made only when asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liandan.models import ModelError
from liandan.models.gpt import GPT, Cache, rotary
from liandan.models.huggingface import CausalLM, as_gpt

_FEW = 8  # rows up to which a matrix of int8 is multiplied as such; for more it is worth while to widen it once


def decoder(model: nn.Module, dtype: torch.dtype, int8: bool = False) -> Any:
    """The same model, made to write with: something with `step`, `new_cache` and `context`, faster where that is known to be the same.

    Args:
        model: liandan/gpt or hf/, in evaluation mode. Dense Llamas without an adapter get a Decoder, anything else stays what it is.
        dtype: matrices are multiplied in; of float64 there is nothing to be gained.
        int8: round the weights to 8 bits and a scale for each row, and multiply in bfloat16. On a CPU alone.

    Raises:
        ModelError: int8 for a model, or on a device, that has none.
    """
    known = as_gpt(model) if isinstance(model, CausalLM) else model
    if not isinstance(known, GPT) or known.config["experts"] or any(hasattr(part, "get_base_layer") for part in known.modules()):
        known = None
    if int8 and (known is None or known.embedding.weight.device.type != "cpu"):
        raise ModelError("int8 is for dense Llamas (liandan/gpt, hf/) without an adapter, on a CPU; leave it out")
    if known is None or (dtype == torch.float64 and not int8):
        return model
    return Decoder(known, torch.bfloat16 if int8 else dtype, int8)


class Int8(NamedTuple):
    """A matrix (rows, columns) as int8, and a scale bfloat16 (rows,)."""

    values: Tensor
    scale: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> Int8:
        """Rounded, each row by its largest magnitude."""
        scale = (weight.abs().amax(1, keepdim=True) / 127).clamp(min=1e-12).bfloat16()
        return cls((weight / scale.float()).round().clamp(-127, 127).to(torch.int8), scale[:, 0])


def product(x: Tensor, weight: Tensor | Int8) -> Tensor:
    """x (..., columns) times the transposed weight: (..., rows)."""
    if isinstance(weight, Tensor):
        return F.linear(x, weight)
    flat = x.flatten(0, -2)
    if len(flat) <= _FEW:
        return torch.ops.aten._weight_int8pack_mm(flat, weight.values, weight.scale).unflatten(0, x.shape[:-1])
    return F.linear(x, weight.values.to(x.dtype) * weight.scale[:, None])


class Layer(NamedTuple):
    """Weights of a layer, the gains of its norms multiplied into the matrices that read them."""

    heads: Tensor | Int8  # ((H + 2 K) D, width): queries, keys, values
    out: Tensor | Int8  # (width, width)
    gate_up: Tensor | Int8  # (2 hidden, width)
    down: Tensor | Int8  # (width, hidden)


class Decoder:
    """The step of a dense liandan/gpt as it is now, in evaluation mode; weights that change later do not reach it.

    Args:
        gpt: its weights are copied, in `dtype`.
        int8: all matrices but the embedding are Int8.

    Attributes:
        context: most tokens it can see.
    """

    def __init__(self, gpt: GPT, dtype: torch.dtype, int8: bool = False) -> None:
        def kept(weight: Tensor) -> Tensor | Int8:
            return Int8.of(weight.float()) if int8 else weight.to(dtype).contiguous()

        with torch.no_grad():
            self.layers = [self._layer(block, kept) for block in gpt.blocks]
            self.embedding = gpt.embedding.weight.to(dtype)
            self.head = self.embedding if gpt.head is None and not int8 else kept((gpt.head or gpt.embedding).weight)
            self.gain = gpt.norm.weight.float()
        config = gpt.config
        self.context, self.dtype, self.device = gpt.context, dtype, self.embedding.device
        self.n_head, self.n_kv, self.dim = config["n_head"], config["n_kv_head"], gpt.head_dim
        self.eps, self.base = config["norm_eps"], gpt.rope_base

    @staticmethod
    def _layer(block: Any, kept: Callable[[Tensor], Tensor | Int8]) -> Layer:
        attention, mlp = block.attention, block.mlp
        first, second = block.attention_norm.weight, block.mlp_norm.weight
        heads = torch.cat((attention.query.weight, attention.key.weight, attention.value.weight)) * first
        gate_up = torch.cat((mlp.gate.weight, mlp.up.weight)) * second
        return Layer(kept(heads), kept(attention.out.weight), kept(gate_up), kept(mlp.down.weight))

    def new_cache(self, batch: int, length: int | None = None, start: Tensor | None = None) -> Cache:
        """See GPT.new_cache."""
        shape = (len(self.layers), batch, self.n_kv, length or self.context, self.dim)
        keys, values = (torch.zeros(shape, dtype=self.dtype, device=self.device) for _ in range(2))
        return Cache(keys, values, start)

    def step(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits float32 (B, vocab) after the last of tokens (B, T), as GPT.step gives them."""
        cache = cache or self.new_cache(len(tokens), tokens.shape[1])
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            x = F.embedding(tokens, self.embedding).float()
            past, cache.position, mask = cache.position, cache.position + tokens.shape[1], cache.visible(tokens.shape[1])
            cos, sin = rotary(torch.arange(past, cache.position, device=self.device), self.dim, self.base, torch.float32)
            cos, sin = torch.cat((cos, cos), -1)[:, None], torch.cat((-sin, sin), -1)[:, None]  # (T, 1, D)
            for layer, weights in enumerate(self.layers):
                heads = product(self.normed(x), weights.heads).unflatten(-1, (-1, self.dim))
                x = x + product(self.attended(heads, cos, sin, cache, layer, past, mask), weights.out)
                gate, up = product(self.normed(x), weights.gate_up).chunk(2, dim=-1)
                x = x + product(F.silu(gate) * up, weights.down)
            return product(self.normed(x[:, -1], self.gain), self.head).float()

    def normed(self, x: Tensor, gain: Tensor | None = None) -> Tensor:
        """RMSNorm of the residual stream, which is float32, in the type of the matrix that reads it."""
        return F.rms_norm(x, x.shape[-1:], gain, self.eps).to(self.dtype)

    def attended(self, heads: Tensor, cos: Tensor, sin: Tensor, cache: Cache, layer: int, past: int, mask: Tensor | None) -> Tensor:
        """Attention of heads (B, T, H + 2 K, D), not yet rotated: (B, T, H D)."""
        batch, tokens, turning = heads.shape[0], heads.shape[1], self.n_head + self.n_kv
        plain = heads[:, :, :turning]
        a, b = plain.chunk(2, dim=-1)
        turned = (plain * cos + torch.cat((b, a), dim=-1) * sin).to(heads.dtype).transpose(1, 2)
        cache.keys[layer, :, :, past : cache.position] = turned[:, self.n_head :]
        cache.values[layer, :, :, past : cache.position] = heads[:, :, turning:].transpose(1, 2)
        k, v = cache.keys[layer, :, :, : cache.position], cache.values[layer, :, :, : cache.position]
        q = turned[:, : self.n_head]
        if tokens == 1:  # the queries of one key, as the rows of one product
            y = F.scaled_dot_product_attention(q.reshape(batch, self.n_kv, -1, self.dim), k, v, attn_mask=mask)
            return y.reshape(batch, 1, -1)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=True)
        return y.transpose(1, 2).reshape(batch, tokens, -1)
