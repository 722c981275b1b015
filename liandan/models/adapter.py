"""Small trainable parts beside frozen weights: LoRA and DoRA, by peft."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from liandan.models import ModelError
from liandan.models.freeze import classifiers
from liandan.models.quantize import is_quantized, quiet, whole

NAMES = ("lora", "dora")
_OURS = (".lora_",)  # in the names of what peft adds


def options(*, rank: int = 8, alpha: float | None = None, dropout: float = 0.0, targets: Sequence[str] | None = None) -> dict[str, Any]:
    """The keyword arguments of an adapter, and their defaults.

    Args:
        rank: of the two factors of each change (r in Hu et al., "LoRA", 2021).
        alpha: changes are scaled by alpha / rank; default 2 * rank.
        dropout: of the adapter's input.
        targets: ends of the names of the layers that are changed; default: every linear layer but the head.
    """
    return {"rank": rank, "alpha": 2 * rank if alpha is None else alpha, "dropout": dropout, "targets": targets}


def signature() -> inspect.Signature:
    """What a recipe may say of an adapter besides its name."""
    return inspect.signature(options)


def adapt(model: nn.Module, name: str, arguments: Mapping[str, Any], fresh: Collection[str] = ()) -> nn.Module:
    """Freeze a model and put an adapter beside its linear layers, in place.

    From here on `model.state_dict()` is what learns alone, which is what a checkpoint of it holds, and `load_state_dict` takes that.

    Args:
        name: lora, or dora (Liu et al., "DoRA", 2024: direction and magnitude apart).
        fresh: tensors that the base's weights did not fill, such as those of a new head: they learn too.

    Raises:
        ModelError: no such adapter, no such layers, or peft is not installed.
    """
    if name not in NAMES:
        raise ModelError(f"no adapter {name!r}; there are: {', '.join(NAMES)}")
    quiet()
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ModelError(f'an adapter needs peft ({error}): pip install "liandan[text]"') from error
    asked, linear = options(**arguments), linear_layers(model)
    ends = tuple(asked["targets"] or ())
    chosen = [n for n in linear if not ends or n.endswith(ends)]
    if not chosen:
        there = ", ".join(sorted({n.rpartition(".")[2] for n in linear}))
        raise ModelError(f"no linear layer ends in {', '.join(ends)}; there are: {there}")
    config = LoraConfig(
        r=asked["rank"], lora_alpha=asked["alpha"], lora_dropout=asked["dropout"], target_modules=chosen, use_dora=name == "dora"
    )
    vars(model)["is_loaded_in_4bit"] = any(map(is_quantized, model.modules()))  # what peft asks
    inject_adapter_in_model(config, model)
    for layer in _adapted(model).values():
        layer.cast_input_dtype_enabled = False  # autocast casts by itself, once
    for own, parameter in model.named_parameters():
        if is_adapter(own) and parameter.dtype in (torch.bfloat16, torch.float16):
            parameter.data = parameter.data.float()  # beside 4 bits peft makes it in the type they compute in, where small steps round away
        parameter.requires_grad_(is_adapter(own) or own in fresh)
    model.register_state_dict_post_hook(functools.partial(_only_what_learns, fresh))
    model.register_load_state_dict_post_hook(functools.partial(_base_is_not_missing, fresh))
    return model


def linear_layers(model: nn.Module) -> list[str]:
    """The names of the layers that an adapter may stand beside: every linear one but the head."""
    heads = classifiers(model)
    return [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and n not in heads and n.rpartition(".")[2] != "lm_head"]


def hold(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Hold frozen weights in the type that autocast computes with, in place: half the memory, and no copy of them a step.

    Exact: a linear layer's weights are what autocast would make of them each time. An embedding goes along where not one of its
    numbers changes, as when its file holds the same type; it still gives float32. Norms stay as they are.
    """
    frozen = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Embedding) and not m.weight.requires_grad and not is_quantized(m)]
    embeddings = {id(m.weight): m for m in frozen if isinstance(m, nn.Embedding)}
    for key, module in embeddings.items():
        same = torch.equal(module.weight.to(dtype).to(module.weight.dtype), module.weight)
        if same:
            module.register_forward_hook(functools.partial(_in_type, module.weight.dtype))
        else:
            frozen = [m for m in frozen if id(m.weight) != key]  # the head too, where they share it
    for module in frozen:
        for parameter in module.parameters(recurse=False):
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(dtype)
    return model


def merge(model: nn.Module) -> nn.Module:
    """Make the adapter part of the weights it stands beside, by peft's arithmetic, in place; a model without one stays as it is.

    From here on `model.state_dict()` is whole again, under the names of the base. Weights held in 4 bits become what they stand for.
    """
    for name, layer in _adapted(model).items():
        base = layer.get_base_layer()
        if is_quantized(base):
            base = _merged(layer, whole(base))
        else:
            layer.merge(safe_merge=True)  # refuses what is not finite
        model.set_submodule(name, base)
    return model


@torch.no_grad()
def _merged(layer: Any, base: nn.Linear) -> nn.Linear:
    """What peft does to a plain layer; to a quantized one it would give 4 bits again."""
    (name,) = layer.active_adapters
    variant = layer.lora_variant.get(name)
    merged = base.weight + layer.get_delta_weight(name) if variant is None else variant.merge_safe(layer, name, base.weight)
    if not torch.isfinite(merged).all():
        raise ModelError("the adapter is not finite: it cannot be merged")
    base.weight.copy_(merged)
    return base


def _adapted(model: nn.Module) -> dict[str, Any]:
    return {name: layer for name, layer in model.named_modules() if hasattr(layer, "get_base_layer")}


def _in_type(dtype: torch.dtype, module: nn.Module, inputs: Any, output: Any) -> Any:
    return output.to(dtype)


def is_adapter(name: str) -> bool:
    """Whether a tensor of this name is an adapter's."""
    return any(mark in f".{name}" for mark in _OURS)


def _only_what_learns(fresh: Collection[str], module: nn.Module, state_dict: dict[str, Any], prefix: str, local_metadata: Any) -> None:
    if any(map(is_adapter, state_dict)):  # it may have been merged since
        for name in [n for n in state_dict if not (is_adapter(n) or n in fresh)]:
            del state_dict[name]


def _base_is_not_missing(fresh: Collection[str], module: nn.Module, incompatible: Any) -> None:
    if any(is_adapter(name) for name, _ in module.named_parameters()):
        incompatible.missing_keys[:] = [n for n in incompatible.missing_keys if is_adapter(n) or n in fresh]
