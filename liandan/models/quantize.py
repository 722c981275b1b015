"""Frozen linear layers in 4 bits, by bitsandbytes: NF4 with doubly quantized scales, as QLoRA has them (Dettmers et al., 2023).

A layer's weights become 4-bit numbers and a scale for each 64 of them; where it computes they are made whole again for a moment. The
gradient passes through, the weights themselves do not learn: an adapter beside them does.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from liandan.models import ModelError


def quantize(model: nn.Module, names: Sequence[str], dtype: torch.dtype) -> nn.Module:
    """Hold the weights of these linear layers in NF4, in place.

    Args:
        names: of `nn.Linear` modules in the model.
        dtype: what they compute in: torch.bfloat16, torch.float16 or torch.float32.

    Raises:
        ModelError: bitsandbytes is not here, or does not work here.
    """
    bnb = _library()
    for name in names:
        plain = model.get_submodule(name)
        assert isinstance(plain, nn.Linear)
        made = bnb.nn.Linear4bit(
            plain.in_features, plain.out_features, plain.bias is not None, compute_dtype=dtype, quant_type="nf4", device="meta"
        )  # fmt: skip
        made.weight = bnb.nn.Params4bit(
            plain.weight.detach().to(dtype), requires_grad=False, quant_type="nf4", compress_statistics=True, module=made
        )  # fmt: skip
        made.bias = plain.bias
        made.support_avx512bf16_for_cpu = False  # its other arithmetic for evaluation would give other numbers than training's
        model.set_submodule(name, made.to(plain.weight.device))
    return model


def is_quantized(module: Any) -> bool:
    """Whether this layer's weights are held in 4 bits."""
    return getattr(getattr(module, "weight", None), "quant_state", None) is not None


def compute_in(model: nn.Module, dtype: torch.dtype) -> None:
    """Let the layers that are held in 4 bits compute in another type than they were made for."""
    layers: list[Any] = [layer for layer in model.modules() if is_quantized(layer)]
    for layer in layers:
        layer.compute_dtype = layer.weight.quant_state.dtype = dtype


def whole(layer: Any) -> nn.Linear:
    """The linear layer, in float32, that a quantized one computes with."""
    weight = _library().functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
    made = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
    made.weight = nn.Parameter(weight, requires_grad=False)
    made.bias = layer.bias
    return made


def quiet() -> None:
    """Before bitsandbytes is imported, which peft does too: it warns that it cannot fetch a kernel, which nothing here uses."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def _library() -> Any:
    quiet()
    try:
        import bitsandbytes
    except (ImportError, RuntimeError, OSError) as error:  # the last two: its own library does not load
        raise ModelError(f'model.quantize needs bitsandbytes ({error}): pip install "liandan[quantize]"') from error
    return bitsandbytes
