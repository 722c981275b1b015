"""liandan's loop against a bare one with the same settings, block by block in one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bench import inputs
from bench.measure import listed, median, say
from bench.peers import loop as peers
from bench.result import Line, Result, Setting
from liandan import models
from liandan.engine import session
from liandan.recipe import make_recipe

_NEAR = 0.97  # within 3 %
_MEAN, _STD = 0.1307, 0.3081


def interleaved(recipe: dict[str, Any], bare: peers.Run, block: int, blocks: int, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds a step of the bare loop and of liandan: one figure a round, the median over its blocks.

    A run of liandan is held after every `block` steps, while the bare loop makes as many; so both meet the same neighbors on the
    machine. The first block of either warms up and does not count. What liandan does between steps (a row of the metrics every 20
    steps) is in it; what it does before the first and after the last is not.
    """
    ours: list[float] = []
    theirs: list[float] = []
    since = 0.0

    def watch(event: dict[str, Any]) -> None:
        nonlocal since
        if "begin" in event:
            since = time.perf_counter()
        elif "step" in event and event["step"] % block == 0:
            ours.append(time.perf_counter() - since)
            started = time.perf_counter()
            bare(block)
            since = time.perf_counter()
            theirs.append(since - started)

    steps = block * (blocks * rounds + 1)
    session.start(make_recipe(recipe, {"train.duration.steps": steps}), watch=watch)

    def by_round(seconds: list[float]) -> list[float]:
        return [1e3 * median(seconds[1 + blocks * r : 1 + blocks * (r + 1)]) / block for r in range(rounds)]

    return by_round(theirs), by_round(ours)


def line(what: str, theirs: list[float], ours: list[float], near: float = _NEAR) -> Line:
    """A comparison of milliseconds a step, by the best round of each side."""
    ratio = min(theirs) / min(ours)
    return Line(
        what, f"{min(theirs):.2f} ms/step", f"{min(ours):.2f} ms/step", ratio, f"at least {near}", ratio >= near,
        f"peer {listed(theirs)}; liandan {listed(ours)}",
    )  # fmt: skip


def _adamw(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)


def _recipe(setting: Setting, name: str, clip: float | None, batch: int) -> dict[str, Any]:
    return {
        "version": 1, "optimizer": {"name": "adamw", "lr": 1e-3}, "checkpoint": {"every": {"steps": 10**6}},
        "run": {"dir": str(setting.folder / name)},
        "train": {"duration": {"steps": 1}, "batch_size": batch, "clip_norm": clip, "precision": "fp32", "compile": False, "log_every": 20},
    }  # fmt: skip


def small(setting: Setting, clip: float | None) -> tuple[dict[str, Any], peers.Run]:
    """LeNet-5 on 28 x 28 digits in batches of 256: (liandan's recipe, the bare loop)."""
    from liandan.data.readers import read

    batch = setting.pick(256, 32)
    data = inputs.digits(setting.folder / "digits", setting.quick, 2000)
    tail = ["to_float", {"name": "normalize", "mean": [_MEAN], "std": [_STD]}]
    recipe = _recipe(setting, f"small-{clip}", clip, batch) | {
        "task": "image_classification", "model": {"name": "liandan/lenet5"},
        "data": {"train": {"path": str(data), "format": "idx", "split": "train"}, "val": None, "transforms": {"train": tail, "eval": tail}},
    }  # fmt: skip
    source = read(data, "idx", split="train")
    model = models.build("liandan/lenet5").to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return recipe, peers.images(model, _adamw(model), source.resident(), torch.from_numpy(source.targets), batch, _MEAN, _STD, clip=clip)


def medium(setting: Setting, clip: float | None) -> tuple[dict[str, Any], peers.Run]:
    """liandan/gpt, 4 layers, 128 wide, context 64, in batches of 12, on 4,096 kinds of token: (liandan's recipe, the bare loop)."""
    layers, width, vocabulary, context, batch = setting.pick(4, 1), setting.pick(128, 32), setting.pick(4096, 64), 64, 12
    file = inputs.random_tokens(setting.folder / "tokens.npy", setting.pick(400_001, 40_001), vocabulary)
    arguments = {"n_layer": layers, "n_head": 4, "width": width}
    recipe = _recipe(setting, f"medium-{clip}", clip, batch) | {
        "task": "language_model", "model": {"name": "liandan/gpt", **arguments},
        "data": {"train": {"path": str(file), "vocab_size": vocabulary}, "val": None, "text": {"context": context}},
    }  # fmt: skip
    model = models.build("liandan/gpt", vocab_size=vocabulary, context=context, **arguments)
    return recipe, peers.language(model, _adamw(model), torch.from_numpy(np.load(file)), context, batch, clip=clip)


Case = Callable[[Setting, float | None], tuple[dict[str, Any], peers.Run]]


def measure(setting: Setting) -> Result:
    """Milliseconds a step of both loops, without clipping and with it."""
    cases: list[tuple[str, Case, int]] = [("LeNet-5, 28 x 28, batch 256", small, 15), ("GPT 4 x 128, context 64, batch 12", medium, 6)]
    found = Result()
    for title, case, blocks in cases:
        for clip in (None, 1.0):
            recipe, bare = case(setting, clip)
            theirs, ours = interleaved(recipe, bare, setting.pick(20, 4), setting.pick(blocks, 2), setting.rounds)
            found.lines.append(line(f"{title}, {'no clipping' if clip is None else f'clip_norm {clip:g}'}", theirs, ours))
            say(f"  {found.lines[-1].what}: {found.lines[-1].ratio:.3f}")
    return found
