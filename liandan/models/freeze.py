"""Which part of a model does not learn."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from liandan.models import ModelError

HEADS = ("head", "fc", "classifier", "heads")  # what torchvision and this room call it


@dataclass(frozen=True)
class Frozen:
    """What `freeze` did, by name, so that it holds for a copy of the model too."""

    parameters: tuple[str, ...]  # no longer learn
    modules: tuple[str, ...]  # must stay in eval: the largest modules that are frozen whole, BatchNorm and dropout included

    def hold(self, model: nn.Module) -> None:
        """Put the frozen modules of `model` back to eval; to be called after each `model.train()`."""
        for name in self.modules:
            model.get_submodule(name).eval()


def classifiers(model: nn.Module) -> list[str]:
    """Names of the modules that make the logits: timm's get_classifier(), else the last linear or convolution layer of one of HEADS.

    More than one for distilled transformers; none for a model without a head, or whose head is its embedding.
    """
    named = dict(model.named_modules())
    get_classifier = getattr(model, "get_classifier", None)
    if callable(get_classifier):
        found = get_classifier()
        wanted = found if isinstance(found, list | tuple) else [found]
        return [name for name, m in named.items() if any(m is w for w in wanted) and any(True for _ in m.parameters())]
    for head in HEADS:
        layers = [n for n, m in named.items() if (n == head or n.startswith(f"{head}.")) and isinstance(m, nn.Linear | nn.Conv2d)]
        if layers:
            return layers[-1:]
    return []


def freeze(model: nn.Module, patterns: Sequence[str]) -> Frozen:
    """Stop parameters from learning and their modules from updating running statistics or dropping out.

    Args:
        model: changed in place (requires_grad, eval of the frozen modules).
        patterns: "backbone" (everything but the classifier), or a module or parameter name with all beneath it
            ("layer1", "blocks.0.attention"), or a shell wildcard over those names ("blocks.[0-3]").

    Returns:
        The names of the frozen parameters and of the modules that must stay in eval. A module without state of its own (a dropout
        between backbone and head) belongs to what surrounds it and goes on with it.

    Raises:
        ModelError: a pattern that matches nothing (the nearest name is given), no head to spare, nothing left to learn.
    """
    frozen = _matched(model, patterns)
    parameters = dict(model.named_parameters())
    result = _frozen(model, frozen)
    if result.parameters and len(result.parameters) == len(parameters):
        raise ModelError(f"freeze: {list(patterns)} leaves nothing to learn; name a part of the model, or `backbone`")
    for name in result.parameters:
        parameters[name].requires_grad_(False)
    result.hold(model)
    return result


def thaw(model: nn.Module, patterns: Sequence[str], later: Sequence[Sequence[str]]) -> list[Frozen]:
    """What `freeze(model, patterns)` leaves frozen after each of `later`'s lists of patterns has been unfrozen, one after the other.

    Raises:
        ModelError: a pattern that matches nothing, or nothing that is still frozen.
    """
    frozen, stages = _matched(model, patterns), []
    for listed in later:
        for pattern in listed:
            awake = _matched(model, [pattern]) & frozen
            if not awake:
                raise ModelError(f"unfreeze: nothing beneath {pattern!r} is frozen by then; name a part of {list(patterns)}")
            frozen -= awake
        stages.append(_frozen(model, frozen))
    return stages


def _matched(model: nn.Module, patterns: Sequence[str]) -> set[str]:
    """Names of parameters and buffers; raises ModelError for a pattern without any."""
    # Running statistics count as state: a BatchNorm without gains has no parameters, yet learns.
    state = [n for n, _ in model.named_parameters()] + [n for n, _ in model.named_buffers()]
    found: set[str] = set()
    for pattern in patterns:
        matched = _backbone(model, state) if pattern == "backbone" else [n for n in state if _beneath(n, pattern)]
        if not matched:
            raise ModelError(_nothing(model, pattern))
        found.update(matched)
    return found


def _frozen(model: nn.Module, names: set[str]) -> Frozen:
    return Frozen(tuple(n for n, _ in model.named_parameters() if n in names), tuple(_whole(model, names)))


def _backbone(model: nn.Module, state: Iterable[str]) -> list[str]:
    heads = classifiers(model)
    if not heads:
        children = ", ".join(n for n, _ in model.named_children())
        raise ModelError(
            f"freeze: {type(model).__name__} has no classifier of its own to spare from `backbone`; name its parts instead: {children}"
        )
    return [n for n in state if not any(_beneath(n, head) for head in heads)]


def _beneath(name: str, pattern: str) -> bool:
    """Whether `pattern` is `name` or one of its dotted ancestors: `layer1` holds layer1.0.conv1.weight but not layer10."""
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:n]), pattern) for n in range(1, len(parts) + 1))


def _whole(model: nn.Module, frozen: set[str]) -> Iterable[str]:
    """The topmost modules that have state, all of it frozen."""
    taken: list[str] = []
    for name, module in model.named_modules():
        if not name or any(name.startswith(f"{t}.") for t in taken):
            continue
        own = [f"{name}.{n}" for n, _ in module.named_parameters()] + [f"{name}.{n}" for n, _ in module.named_buffers()]
        if own and frozen.issuperset(own):
            taken.append(name)
    return taken


def _nothing(model: nn.Module, pattern: str) -> str:
    known = [n for n, _ in model.named_modules() if n] + [n for n, _ in model.named_parameters()]
    near = difflib.get_close_matches(pattern, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    children = ", ".join(n for n, _ in model.named_children())
    return f"freeze: no parameter of {type(model).__name__} is beneath {pattern!r}.{hint} Name `backbone`, or one of: {children}."
