"""A small character model the way nanoGPT trains one on a CPU: windows from random places, AdamW that decays matrices alone.

Prints {"seconds": of the loop, "loss": held-out, nats a token}. The model's file is liandan's, so that both sides train the same
network. Flags: a fused optimizer; no torch.compile, as nanoGPT's own advice for a CPU has it.
"""

from __future__ import annotations

import argparse
import json
import math
import time

import numpy as np
import torch
import torch.nn.functional as F

from liandan.models.gpt import GPT

WARM_UP, LR, FINAL = 100, 1e-3, 1e-4


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to a tenth."""
    if step < WARM_UP:
        return LR * (step + 1) / (WARM_UP + 1)
    return FINAL + (LR - FINAL) * (1 + math.cos(math.pi * (step - WARM_UP) / max(1, steps - WARM_UP))) / 2


@torch.no_grad()
def held_out(model: GPT, tokens: torch.Tensor, context: int) -> float:
    """Mean over every token but the first, in windows side by side, the last one shorter."""
    model.eval()
    total = 0.0
    for at in range(0, len(tokens) - 1, context):
        window = tokens[at : at + context + 1]
        total += float(F.cross_entropy(model(window[None, :-1])[0], window[1:], reduction="sum"))
    return total / (len(tokens) - 1)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("train")
    options.add_argument("val")
    sizes = {"vocab": 256, "steps": 2000, "context": 64, "batch": 12, "layers": 4, "heads": 4, "width": 128, "seed": 0}
    for name, default in sizes.items():
        options.add_argument(f"--{name}", type=int, default=default)
    asked = options.parse_args()
    train, val = (torch.from_numpy(np.load(file).astype(np.int64)) for file in (asked.train, asked.val))
    torch.manual_seed(asked.seed)
    model = GPT(asked.vocab, asked.context, n_layer=asked.layers, n_head=asked.heads, width=asked.width).train()
    matrices, gains = ([p for p in model.parameters() if (p.dim() >= 2) is large] for large in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.99), fused=True)
    within = torch.arange(asked.context + 1)
    started = time.perf_counter()
    for step in range(asked.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, asked.steps)
        window = train[torch.randint(len(train) - asked.context, (asked.batch, 1)) + within]
        loss = F.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "loss": held_out(model, val, asked.context)}))


if __name__ == "__main__":
    main()
