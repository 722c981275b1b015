"""What a step leaves behind: nothing that keeps its graph alive."""

from __future__ import annotations

import gc
from typing import Any

import torch

from liandan.engine import sharing
from liandan.engine.state import State
from liandan.engine.train import make_step
from liandan.recipe import load_recipe
from liandan.runtime.assemble import assemble
from liandan.runtime.device import Device
from tests.journeys import TINY


def graphs() -> int:
    """Tensors that are alive and hold the computation they came from."""
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) and thing.grad_fn is not None for thing in gc.get_objects())


def test_no_graph_outlives_its_step() -> None:
    parts = assemble(load_recipe(TINY["image_classification"], ["data.workers=0", "train.threads=1"]), Device())
    state = State(parts.model, sharing.of(parts), parts.task, parts.device, None, parts.plan.micro_batch_size)
    before, kept = graphs(), []

    def three(hook: Any = None) -> int:
        handle = parts.model.register_forward_hook(hook) if hook else None
        for batches in parts.loader.training(64, 32, 0, 3):
            make_step(parts, state, batches)
        if handle:
            handle.remove()
        return graphs() - before

    assert three() == 0
    # the fault this looks for: predictions collected for an epoch's metrics with what they came from
    assert three(lambda module, inputs, output: kept.append(output)) == 6
