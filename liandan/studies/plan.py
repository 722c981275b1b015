"""What a recipe would cost: memory by kind, the largest batch of each device, time, and what other choices would change."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from liandan.doctor.cpu import memory_available
from liandan.engine import session
from liandan.recipe import Recipe
from liandan.runtime import assemble, weights
from liandan.runtime.assemble import Parts
from liandan.runtime.device import Device
from liandan.studies.experts import Accounting, account
from liandan.studies.measure import Failed, Measured, measure, resident
from liandan.studies.memory import Footprint, NotApplicable, Uncountable, checkpointed, footprint, with_lora

_FIXED = 20 << 20  # bytes a CPU process takes for the code of its kernels and their scratch; docs/plan.md says how it was measured
_KEPT = 0.3  # of the living tensors' peak, memory that malloc keeps and cannot use again, where it was not measured
_MOST = 0.6  # larger than any that was seen where tensors, not libraries, fill the process
_ELSEWHERE = 0.05  # the same for the caching allocators of accelerators: an allowance, not measured here


@dataclass(frozen=True)
class Overhead:
    """What a process takes beside the tensors that live: `fixed` bytes, and `part` of their peak."""

    fixed: int
    part: float

    def of(self, peak: int) -> int:
        return self.fixed + int(self.part * peak)


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
        overhead: what the process takes beside living tensors.
        step: None where the step could not be counted; `reason` says why.
        measured: None where the steps were not made; `reason` says why.
        experts: parameters in all and for one token, of a mixture of experts.
    """

    recipe: Recipe
    device: str
    samples: int
    steps: int
    base: int
    kept: int
    overhead: Overhead
    step: Footprint | None = None
    measured: Measured | None = None
    experts: Accounting | None = None
    reason: str = ""
    rooms: list[Room] = field(default_factory=list)
    variants: list[Variant] = field(default_factory=list)

    @property
    def total(self) -> int | None:
        """The predicted peak in bytes."""
        return None if self.step is None else self.with_step(self.step.peak)

    def with_step(self, peak: int) -> int:
        """The predicted peak when `peak` bytes of tensors live in a step."""
        return self.base + self.kept + peak + self.overhead.of(peak)

    @property
    def seconds(self) -> float | None:
        """Of the whole run's steps, evaluations aside."""
        return None if self.measured is None else self.measured.steps * self.measured.seconds_per_step

    def to_json(self) -> dict[str, Any]:
        plain = {k: v for k, v in vars(self).items() if k in ("device", "samples", "steps", "base", "kept", "reason")}
        return {
            **plain,
            "precision": self.recipe.train.precision,
            "batch_size": self.recipe.train.batch_size,
            "micro_batch_size": self.recipe.train.micro_batch_size,
            "overhead": self.step and self.overhead.of(self.step.peak),
            "step": self.step and {**asdict(self.step), "peak": self.step.peak},
            "total": self.total,
            "measured": self.measured and asdict(self.measured),
            "seconds": self.seconds,
            "experts": self.experts and self.experts.to_json(),
            "largest": [asdict(room) for room in self.rooms],
            "variants": [asdict(variant) for variant in self.variants],
        }


def plan(recipe: Recipe) -> Estimate:
    """Predict, then make a few steps if they fit.

    Raises:
        RecipeError, DataError: the recipe or its data cannot be used.
    """
    session.check(recipe)
    device = assemble.find_device(recipe)
    base = resident()[0] if device.kind == "cpu" else 0
    parts = assemble.assemble(recipe, device, initial=weights.find(recipe))
    kept = sum(getattr(s, "nbytes", 0) for s in (parts.train, parts.val) if s is not None) if device.kind == "cpu" else 0
    found = Estimate(parts.recipe, device.name, len(parts.train), parts.plan.steps, base, kept, Overhead(0, _ELSEWHERE))
    room = memory_of(device.name)
    config = getattr(parts.model, "config", None)
    if isinstance(config, dict) and config.get("experts"):
        found.experts = account(config)
    try:
        batch = first_batch(parts)
        count = counter(parts, batch)
        found.step = count(sizes(parts))
        if device.kind == "cpu":
            found.overhead = measured_overhead(recipe, parts, count, room)
        found.rooms = [Room(n, m, largest(lambda k: found.with_step(count([k]).peak), found.samples, m)) for n, m in memories(device.name)]
        found.variants = list(variants(parts, batch, found))
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


def measured_overhead(recipe: Recipe, parts: Parts, count: Callable[..., Footprint], room: int) -> Overhead:
    """What malloc keeps of this model's tensors: seen in a few steps with smaller micro-batches, as many of them a step as the run has.

    The part is much the same at any size of the batch, and not at all the same from one model to another.
    """
    expected, small = Overhead(_FIXED, _KEPT), parts.plan.micro_batch_size
    while True:
        small = min(small, max(2, small // 2))
        micro_batches = [small] * len(sizes(parts))
        peak = count(micro_batches).peak
        if peak + expected.of(peak) <= room:
            break
        if small <= 2:
            return expected
    try:
        grown = measure(recipe.with_values({"train.batch_size": sum(micro_batches), "train.micro_batch_size": small})).growth
    except Failed:
        return expected
    part = min(max(0.0, (grown - _FIXED) / peak - 1), _MOST)  # of a small model the libraries' own memory is the larger part
    return Overhead(max(_FIXED, int(grown - (1 + part) * peak)), part)


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
    parts.training_mode(0)
    device = parts.device if precision is None else Device(parts.device.name, precision)
    spec = parts.recipe.optimizer
    return functools.partial(
        footprint, parts.task, parts.model, batch, device=device,
        optimizer=(spec.name, spec.arguments), average=parts.recipe.train.ema is not None,
    )  # fmt: skip


def memories(device: str) -> list[tuple[str, int]]:
    """(name, bytes) of the run's device first, then of the others here."""
    names = [device, *(f"cuda:{i}" for i in range(torch.cuda.device_count())), "cpu"]
    known = dict.fromkeys("cuda:0" if name == "cuda" else name for name in names)
    return [(name, memory_of(name)) for name in known]


def memory_of(device: str) -> int:
    """Memory a new process could have on a device, in bytes."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(torch.device(device))[0]
    return memory_available()


def largest(total: Callable[[int], int], limit: int, memory: int) -> int | None:
    """The most samples in one micro-batch, at most `limit`, whose predicted peak `total` is at most `memory`, to 2 %; None: not one."""
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


def variants(parts: Parts, batch: dict[str, Any], found: Estimate) -> Iterator[Variant]:
    """What each of the usual ways to spare memory would come to, one at a time."""
    ours, micro = sizes(parts), parts.plan.micro_batch_size

    def tried(name: str, key: str, count: Callable[..., Footprint], of: list[int], **changes: Any) -> Variant:
        try:
            return Variant(name, key, found.with_step(count(of, **changes).peak))
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
    if parts.recipe.model.adapter is None:
        yield tried("LoRA, rank 8", "model.adapter.name=lora", count, ours, change=with_lora)
