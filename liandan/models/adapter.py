"""Small trainable parts beside frozen weights: LoRA and DoRA, by peft."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import nn

from liandan.models import ModelError
from liandan.models.freeze import classifiers

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
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ModelError(f'an adapter needs peft ({error}): pip install "liandan[text]"') from error
    asked = options(**arguments)
    heads = classifiers(model)
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and n not in heads and n.rpartition(".")[2] != "lm_head"]
    ends = tuple(asked["targets"] or ())
    chosen = [n for n in linear if not ends or n.endswith(ends)]
    if not chosen:
        there = ", ".join(sorted({n.rpartition(".")[2] for n in linear}))
        raise ModelError(f"no linear layer ends in {', '.join(ends)}; there are: {there}")
    config = LoraConfig(
        r=asked["rank"], lora_alpha=asked["alpha"], lora_dropout=asked["dropout"], target_modules=chosen, use_dora=name == "dora"
    )
    inject_adapter_in_model(config, model)
    for own, parameter in model.named_parameters():
        parameter.requires_grad_(is_adapter(own) or own in fresh)
    model.register_state_dict_post_hook(functools.partial(_only_what_learns, fresh))
    model.register_load_state_dict_post_hook(functools.partial(_base_is_not_missing, fresh))
    return model


def merge(model: nn.Module) -> nn.Module:
    """Make the adapter part of the weights it stands beside, by peft's arithmetic, in place; a model without one stays as it is.

    From here on `model.state_dict()` is whole again, under the names of the base.
    """
    adapted = [(name, layer) for name, layer in model.named_modules() if hasattr(layer, "get_base_layer")]
    for name, layer in adapted:
        layer.merge(safe_merge=True)  # pyright: ignore[reportCallIssue]  (peft's; refuses what is not finite)
        model.set_submodule(name, layer.get_base_layer())  # pyright: ignore[reportCallIssue]
    return model


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
