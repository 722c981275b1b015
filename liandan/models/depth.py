"""How far from the input each parameter of a model is, in layers: what a learning rate that decays by layer needs to know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from liandan.models.freeze import classifiers


def depths(model: nn.Module) -> dict[str, int]:
    """{parameter name: number of its layer}, 0 at the input, the classifier last.

    timm's models say it themselves (`group_matcher`). For others a layer is a child of the model, in the order of registration, where
    containers, and a part that holds most of the parameters, stand for what is in them; layers of vectors alone (norms) belong to the
    layer before.
    """
    matcher: Any = getattr(model, "group_matcher", None)
    if callable(matcher):
        from timm.models import group_parameters

        return group_parameters(model, matcher(coarse=False), reverse=True)
    heads = classifiers(model)
    layers = [name for name in _layers(model, "", _size(model)) if name not in heads]
    found: dict[str, int] = dict.fromkeys((name for name, _ in model.named_parameters()), 0)
    number = -1
    for layer in [*layers, *heads[:1]]:
        own = [name for name in found if _within(name, layer)]
        number += number < 0 or any(model.get_parameter(name).dim() > 1 for name in own)
        found |= dict.fromkeys(own, number)
    return found | dict.fromkeys((name for name in found if any(_within(name, head) for head in heads)), number)


def _layers(module: nn.Module, prefix: str, whole: int) -> Iterator[str]:
    for name, child in module.named_children():
        if not _size(child):
            continue
        wrapper = isinstance(child, nn.Sequential | nn.ModuleList) or _size(child) > whole / 2
        if wrapper and any(True for _ in child.children()):
            yield from _layers(child, f"{prefix}{name}.", whole)
        else:
            yield f"{prefix}{name}"


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _within(name: str, layer: str) -> bool:
    return name.startswith(f"{layer}.")
