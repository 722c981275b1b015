"""Compiling what repeats: one block of a deep stack is compiled, and all of them run its code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

_STACK = 8  # blocks from which on a stack is worth compiling by itself


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The repeated blocks of a model: the children of a Sequential or ModuleList that has several of one class; the outermost ones."""
    for child in module.children():
        inner = list(child.children())
        repeated = isinstance(child, nn.Sequential | nn.ModuleList) and len(inner) > 1 and len({type(m) for m in inner}) == 1
        if repeated and any(True for _ in inner[0].children()):
            yield from inner
        else:
            yield from blocks(child)


def stack(module: nn.Module) -> list[nn.Module]:
    """The blocks of a model that is for the most part one deep stack of them; else none."""
    found = list(blocks(module))
    return found if len(found) >= _STACK and len({type(block) for block in found}) == 1 else []


def compiled(loss: Callable[..., Any], model: nn.Module) -> Callable[..., Any]:
    """The loss with the model's stack compiled, or, without one, compiled whole.

    A block takes seconds to compile where thirty of them would take minutes. The model itself stays as it is: what evaluates it, or a
    twin of it, runs the same code as an opened run does.
    """
    found = stack(model)
    if not found:
        return torch.compile(loss, dynamic=True)
    fast = [(block, torch.compile(block.forward, dynamic=True)) for block in found]

    def with_fast_blocks(model: nn.Module, batch: dict[str, Any]) -> Any:
        for block, forward in fast:
            block.forward = forward
        try:
            return loss(model, batch)
        finally:
            for block, _ in fast:
                del block.forward

    return with_fast_blocks
