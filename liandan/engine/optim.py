"""Optimizers by name: torch's own, fused where torch has it fused; and which parameters decay, and how fast they learn."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from liandan.runtime.assemble import Parts

Group = dict[str, Any]  # a parameter group as torch takes it
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


def build(name: str, parameters: Sequence[nn.Parameter] | Sequence[Group], arguments: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The optimizer of parameters or of groups of them; `arguments` are checked against `signature` beforehand."""
    keywords = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in arguments.items()}
    each = [p for entry in parameters for p in (entry["params"] if isinstance(entry, dict) else [entry])]
    if name in _FUSED and all(p.is_floating_point() for p in each):
        keywords["fused"] = True  # one kernel for all parameters instead of several for each
    return OPTIMIZERS[name](list(parameters), **keywords)


def of(parts: Parts) -> torch.optim.Optimizer:
    """The optimizer of a run's parts, with the groups its recipe asks for."""
    asked = parts.recipe.optimizer
    default = signature(asked.name).parameters.get("weight_decay")
    decays = default is not None and asked.weight_decay_on == "weights" and bool(asked.arguments.get("weight_decay", default.default))
    own: Any = getattr(parts.model, "no_weight_decay", tuple)  # timm's: names of embeddings and tokens
    scales = {} if asked.layer_decay is None else layer_scales(parts.depths, asked.layer_decay)
    return build(asked.name, groups(parts.named, tuple(own()) if decays else None, scales), asked.arguments)


def groups(named: Sequence[tuple[str, nn.Parameter]], spared: Collection[str] | None, scales: Mapping[str, float]) -> list[Group]:
    """Parameters of the same learning rate and weight decay, together.

    Args:
        spared: names (or shell wildcards) that do not decay beside all parameters of fewer than two dimensions, which are biases and the
            gains of norms; None where nothing is spared.
        scales: {name: factor on the learning rate}, 1 where it is absent.

    Returns:
        Groups of torch's, with `lr_scale` in each, and `weight_decay` 0 in those that do not decay.
    """
    found: dict[tuple[float, bool], Group] = {}
    for name, parameter in named:
        still = spared is not None and (parameter.dim() < 2 or any(fnmatchcase(name, pattern) for pattern in spared))
        scale = scales.get(name, 1.0)
        group = found.setdefault((scale, still), {"params": [], "lr_scale": scale} | ({"weight_decay": 0.0} if still else {}))
        group["params"].append(parameter)
    return list(found.values())


def layer_scales(depths: Mapping[str, int], decay: float) -> dict[str, float]:
    """{name: decay ** (layers above it)}: the last layer learns at the full rate (Clark et al., ELECTRA, 2020; Bao et al., BEiT, 2022)."""
    last = max(depths.values(), default=0)
    return {name: decay ** (last - depth) for name, depth in depths.items()}
