"""Optimizers by name: torch's own, fused where torch has it fused."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "adadelta": torch.optim.Adadelta,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adamax": torch.optim.Adamax,
    "asgd": torch.optim.ASGD,
    "rprop": torch.optim.Rprop,
}
_FUSED = ("sgd", "adam", "adamw", "adagrad")
_OURS = ("params", "foreach", "fused", "capturable", "differentiable", "maximize")  # not the recipe's to set


def signature(name: str) -> inspect.Signature:
    """What a recipe may say about an optimizer: torch's keyword arguments, less those that do not change the result."""
    full = inspect.signature(OPTIMIZERS[name].__init__)
    return full.replace(parameters=[p for n, p in full.parameters.items() if n not in (*_OURS, "self")])


def build(name: str, parameters: Sequence[nn.Parameter], arguments: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The optimizer; `arguments` are checked against `signature` beforehand."""
    keywords = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in arguments.items()}
    if name in _FUSED and all(p.is_floating_point() for p in parameters):
        keywords["fused"] = True  # one kernel for all parameters instead of several for each
    return OPTIMIZERS[name](list(parameters), **keywords)
