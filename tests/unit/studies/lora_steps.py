"""Run as a program: real training steps of a transformers model of SmolLM2-135M's sizes with LoRA, in liandan's engine.

    python -m tests.unit.studies.lora_steps SAMPLES

Prints {"counted": bytes, "measured": bytes}: what is counted for the tensors of a step, and how far the steps push this process' peak.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from liandan.engine import optim
from liandan.engine.sharing import Reduced
from liandan.engine.state import State
from liandan.engine.train import make_step
from liandan.recipe import find, load_recipe
from liandan.runtime import assemble
from liandan.runtime.device import Device
from liandan.studies.measure import growth
from liandan.studies.memory import footprint, with_lora
from liandan.studies.plan import first_batch, sizes
from tests.unit.studies.test_experts import SMOLLM2


class Logits(nn.Module):
    """A causal language model of transformers as the task calls one: ids -> logits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = AutoModelForCausalLM.from_config(AutoConfig.for_model(**SMOLLM2))
        with_lora(self.inner)

    def forward(self, ids: Tensor) -> Tensor:
        return self.inner(ids, use_cache=False).logits


def main(size: int) -> None:
    recipe = load_recipe(
        find("language_model/tiny"),
        ["data.text.context=128", "train.ema=null", "train.precision=fp32", "train.threads=1",
         f"train.batch_size={size}", f"train.micro_batch_size={size}"],
    )  # fmt: skip
    base = assemble.assemble(recipe, Device())
    AutoModelForCausalLM.from_config(AutoConfig.for_model(**{**SMOLLM2, "num_hidden_layers": 1, "vocab_size": 64}))  # imports its code

    def parts_with(model: nn.Module) -> Any:
        return dataclasses.replace(base, model=model, named=[(n, p) for n, p in model.named_parameters() if p.requires_grad])

    def train() -> int:
        parts = parts_with(Logits())
        optimizer = optim.build(recipe.optimizer.name, [p for _, p in parts.named], recipe.optimizer.arguments)
        state = State(
            parts.model, Reduced(parts.named, optimizer, parts.device), parts.task, parts.device, None, parts.plan.micro_batch_size
        )
        for batches in parts.loader.training(parts.plan.batch_size, parts.plan.micro_batch_size, 0, 3):
            make_step(parts, state, batches)
        spec = recipe.optimizer
        counted = footprint(
            parts.task, parts.model, first_batch(parts), sizes(parts), parts.device, optimizer=(spec.name, spec.arguments)
        )  # fmt: skip
        return counted.peak

    _, grown, counted = growth(train)
    print(json.dumps({"counted": counted, "measured": grown}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
