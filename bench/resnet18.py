"""ResNet-18 at 224 pixels on the CPU: what `auto` picks against the loop as torchvision's users write it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bench import inputs, machine
from bench.loop import interleaved
from bench.measure import listed, say
from bench.peers import loop as peers
from bench.result import Line, Result, Setting
from liandan.recipe import load_recipe

_GOAL = 3.0
_MEAN, _STD = 0.45, 0.225


def bare(pixels: torch.Tensor, labels: torch.Tensor, batch: int, *, by_hand: bool) -> peers.Run:
    """The stock loop: float32, contiguous images; `by_hand` adds what torch's tuning guide says of a CPU: channels-last and bfloat16."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    model: nn.Module = resnet18(num_classes=8)
    if by_hand:
        model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=by_hand)
    return peers.images(model, optimizer, pixels, labels, batch, _MEAN, _STD, channels_last=by_hand, bf16=by_hand)


def measure(setting: Setting) -> Result:
    """Milliseconds a step of 16 images that are in memory on both sides; nothing is decoded or augmented."""
    batch, side, count = setting.pick(16, 2), setting.pick(224, 64), setting.pick(64, 16)
    photos = inputs.photos(setting.folder / "photos", count, side)
    tail = [{"name": "resize", "size": [side, side]}, "to_float", {"name": "normalize", "mean": [_MEAN] * 3, "std": [_STD] * 3}]
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=draw)
    labels = torch.randint(0, 8, (count,), generator=draw)
    found = Result()
    for title, by_hand in (("stock float32 loop", False), ("loop told channels-last and bfloat16 by hand", True)):
        folder = setting.folder / f"run-{by_hand}"
        recipe: dict[str, Any] = {
            "version": 1, "task": "image_classification", "model": {"name": "torchvision/resnet18"},
            "data": {"train": str(photos), "val": None, "workers": 0, "transforms": {"train": tail, "eval": tail}},
            "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9}, "checkpoint": {"every": {"steps": 10**6}},
            "train": {"duration": {"steps": 1}, "batch_size": batch}, "run": {"dir": str(folder)},
        }  # fmt: skip
        epoch = -(-count // batch)  # the first pass decodes; it is the block that warms up
        theirs, ours = interleaved(recipe, bare(pixels, labels, batch, by_hand=by_hand), epoch, setting.pick(2, 1), setting.rounds)
        chosen = load_recipe(folder / "resolved.yaml").train
        ratio = min(theirs) / min(ours)
        found.lines.append(
            Line(
                f"ResNet-18, 224 pixels, batch 16, against the {title}",
                f"{min(theirs):.0f} ms/step",
                f"{min(ours):.0f} ms/step",
                ratio,
                "" if by_hand else f"at least {_GOAL:g} where the processor has AMX",
                None if by_hand else ratio >= _GOAL,
                f"peer {listed(theirs)}; liandan {listed(ours)}",
            )
        )
        if not by_hand:
            found.notes.append(f"`auto` chose precision {chosen.precision}, compile {str(chosen.compile).lower()}, channels-last.")
        say(f"  {found.lines[-1].what}: {ratio:.3f}")
    if not machine.has(machine.describe(), "AMX-BF16"):
        found.notes.append(
            "The goal was set for a processor with AMX, whose tiles multiply bfloat16; this one has none, and the goal is not claimed here."
        )
    found.notes.append("The second line shows where the gain comes from: whoever knows these two switches has it without liandan.")
    return found
