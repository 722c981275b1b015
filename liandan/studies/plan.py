"""What a recipe would cost: memory by kind, the largest batch of each device, time, and what other choices would change."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from liandan.engine import session
from liandan.engine.train import training_mode
from liandan.recipe import Recipe
from liandan.runtime import assemble, weights
from liandan.runtime.assemble import Parts
from liandan.runtime.device import Device
from liandan.studies.measure import Failed, Measured, measure, resident
from liandan.studies.memory import Footprint, NotApplicable, Uncountable, checkpointed, footprint, with_lora

# What a process takes beside the tensors that live: (part of their peak, bytes). docs/plan.md says what it is and how it was measured.
OVERHEAD = {"cpu": (0.05, 40 << 20)}
_ELSEWHERE = (0.05, 0)  # accelerators: an allowance for blocks that cannot be reused; not measured here


@dataclass(frozen=True)
class Variant:
    """One thing done otherwise: the predicted peak it leads to, or why it is not offered."""

    name: str
    key: str  # of the recipe, empty where it has none
    total: int | None
    reason: str = ""


@dataclass(frozen=True)
class Room:
    """A device, its memory in bytes, and the most samples of one forward and backward pass that fit in it; None: not one does."""

    device: str
    memory: int
    largest: int | None


@dataclass
class Estimate:
    """A recipe's cost.

    Attributes:
        base: resident memory of the interpreter and its libraries, bytes; nothing on an accelerator.
        kept: decoded samples that stay in memory, bytes.
        overhead: what the process takes beside living tensors, bytes.
        step: None where the step could not be counted; `reason` says why.
        measured: None where the steps were not made; `reason` says why.
    """

    recipe: Recipe
    device: str
    samples: int
    steps: int
    base: int
    kept: int
    overhead: int = 0
    step: Footprint | None = None
    measured: Measured | None = None
    reason: str = ""
    rooms: list[Room] = field(default_factory=list)
    variants: list[Variant] = field(default_factory=list)

    @property
    def total(self) -> int | None:
        """The predicted peak in bytes."""
        return None if self.step is None else self.base + self.kept + self.step.peak + self.overhead

    @property
    def seconds(self) -> float | None:
        """Of the whole run's steps, evaluations aside."""
        return None if self.measured is None else self.measured.steps * self.measured.seconds_per_step

    def to_json(self) -> dict[str, Any]:
        plain = {k: v for k, v in vars(self).items() if k in ("device", "samples", "steps", "base", "kept", "overhead", "reason")}
        return {
            **plain,
            "precision": self.recipe.train.precision,
            "batch_size": self.recipe.train.batch_size,
            "micro_batch_size": self.recipe.train.micro_batch_size,
            "step": self.step and {**asdict(self.step), "peak": self.step.peak},
            "total": self.total,
            "measured": self.measured and asdict(self.measured),
            "seconds": self.seconds,
            "largest": [asdict(room) for room in self.rooms],
            "variants": [asdict(variant) for variant in self.variants],
        }


def overhead(device: Device, peak: int) -> int:
    """Bytes that a process is expected to take beside `peak` bytes of living tensors."""
    part, fixed = OVERHEAD.get(device.kind, _ELSEWHERE)
    return int(part * peak) + fixed


def plan(recipe: Recipe) -> Estimate:
    """Predict, then make a few steps if they fit.

    Raises:
        RecipeError, DataError: the recipe or its data cannot be used.
    """
    session.check(recipe)
    device = assemble.find_device(recipe)
    base = resident()[0] if device.kind == "cpu" else 0
    parts = assemble.assemble(recipe, device, weights=weights.find(recipe))
    kept = sum(getattr(s, "nbytes", 0) for s in (parts.train, parts.val) if s is not None) if device.kind == "cpu" else 0
    found = Estimate(parts.recipe, device.name, len(parts.train), parts.plan.steps, base, kept)
    room = memory_of(device.name)
    try:
        batch = first_batch(parts)
        count = counter(parts, batch)
        found.step = count(sizes(parts))
        found.overhead = overhead(device, found.step.peak)
        fixed = base + kept
        found.rooms = [Room(n, m, largest(lambda k: whole(device, count([k]), fixed), parts, m)) for n, m in memories(device.name)]
        found.variants = list(variants(parts, batch, fixed))
    except Uncountable as error:
        found.reason = f"the step could not be counted, its memory depends on values: {error}"
    if found.total is not None and found.total > room:
        found.reason = "not tried: the predicted peak is more than the memory there is"
        return found
    try:
        found.measured = measure(recipe)
    except Failed as error:
        found.reason = f"{found.reason}; " * bool(found.reason) + f"the steps that were tried failed: {error}"
    return found


def sizes(parts: Parts) -> list[int]:
    """Samples of each micro-batch of a full step of this process."""
    whole_batch, micro = min(parts.plan.batch_size, len(parts.train)), parts.plan.micro_batch_size
    return [min(micro, whole_batch - at) for at in range(0, whole_batch, micro)]


def first_batch(parts: Parts) -> dict[str, Any]:
    """The first micro-batch of the run."""
    loader = assemble.make_loader(parts.recipe.with_values({"data.workers": 0}), parts.train, parts.device)
    return next(iter(loader.training(parts.plan.batch_size, parts.plan.micro_batch_size, 0, 1)))[0]


def counter(parts: Parts, batch: dict[str, Any], precision: str | None = None) -> Callable[..., Footprint]:
    """`footprint` of the parts' step, for any sizes of its micro-batches."""
    training_mode(parts)
    device = parts.device if precision is None else Device(parts.device.name, precision)
    spec = parts.recipe.optimizer
    return functools.partial(
        footprint, parts.task, parts.model, batch, device=device,
        optimizer=(spec.name, spec.arguments), average=parts.recipe.train.ema is not None,
    )  # fmt: skip


def whole(device: Device, step: Footprint, fixed: int) -> int:
    """The predicted peak of the process, or of the device."""
    return fixed + step.peak + overhead(device, step.peak)


def memories(device: str) -> list[tuple[str, int]]:
    """(name, bytes) of the run's device first, then of the others here."""
    names = [device, *(f"cuda:{i}" for i in range(torch.cuda.device_count())), "cpu"]
    known = dict.fromkeys("cuda:0" if name == "cuda" else name for name in names)
    return [(name, memory_of(name)) for name in known]


def memory_of(device: str) -> int:
    """Memory a new process could have on a device, in bytes."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(torch.device(device))[0]
    return assemble.available_memory()


def largest(total: Callable[[int], int], parts: Parts, memory: int) -> int | None:
    """The most samples in one micro-batch whose predicted peak is at most `memory`; not more than there are to train on."""
    limit = len(parts.train)
    if total(limit) <= memory:
        return limit
    if total(1) > memory:
        return None
    fits, not_ = 1, limit  # the peak is all but linear in the batch, so the secant all but hits it
    low, high = total(1), total(limit)
    while not_ - fits > max(1, fits // 50):
        at = fits + int((not_ - fits) * (memory - low) / max(1, high - low))
        at = min(max(at, fits + 1), not_ - 1)
        found = total(at)
        if found <= memory:
            fits, low = at, found
        else:
            not_, high = at, found
    return fits


def variants(parts: Parts, batch: dict[str, Any], fixed: int) -> Iterator[Variant]:
    """What each of the usual ways to spare memory would come to, one at a time."""
    ours, micro = sizes(parts), parts.plan.micro_batch_size

    def tried(name: str, key: str, count: Callable[..., Footprint], of: list[int], **changes: Any) -> Variant:
        try:
            return Variant(name, key, whole(parts.device, count(of, **changes), fixed))
        except (NotApplicable, Uncountable) as error:
            return Variant(name, key, None, str(error))

    count = counter(parts, batch)
    if parts.recipe.train.precision == "fp32":
        yield tried("bf16", "train.precision=bf16", counter(parts, batch, "bf16"), ours)
    if micro > 1 and not parts.task.couples:
        half = -(-micro // 2)
        split = [part for size in ours for part in ((size,) if size <= half else (half, size - half))]
        yield tried("half the micro-batch", f"train.micro_batch_size={half}", count, split)
    yield tried("gradient checkpointing", "", count, ours, change=checkpointed)
    yield tried("LoRA, rank 8", "", count, ours, change=with_lora)
