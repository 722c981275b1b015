"""One turn of one step: the gradient of sum over names of (SUM over all micro-batches and processes) / (global count)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from liandan.engine.batchnorm import RunningStatistics
from liandan.engine.sharing import Sharing
from liandan.randomness import mix
from liandan.runtime.device import out_of_memory
from liandan.tasks import Task, Turn

if TYPE_CHECKING:
    from liandan.engine.state import State
    from liandan.runtime.assemble import Parts

Batch = dict[str, Any]


class NonFinite(FloatingPointError):
    """A loss or the gradient of a turn is not finite. Nothing of it was learned."""


class OutOfMemory(MemoryError):
    """Not even one sample fits."""


@dataclass
class Totals:
    """Sums over this process's micro-batches."""

    losses: dict[str, Tensor]
    logs: dict[str, list[Any]]
    suspects: list[int]  # samples of the micro-batches whose own loss is not finite
    out_of_memory: str = ""  # the allocator's words


def cut(task: Task, batches: list[Batch], limit: int) -> list[Batch]:
    """Micro-batches of at most `limit` samples; each part of a divided one has its own dropout key."""
    out: list[Batch] = []
    for batch in batches:
        if len(batch["index"]) <= limit:
            out.append(batch)
        else:
            out += [{**part, "rng": mix(batch["rng"], k)} for k, part in enumerate(task.split(batch, limit))]
    return out


def make_turn(parts: Parts, state: State, turn: Turn, number: int) -> None:
    """One optimizer step: micro-batches, reduction over processes, the check, clipping, the step.

    Raises:
        NonFinite: with the loss, the gradient norm and the samples, before anything was changed.
    """
    device, sharing = parts.device, state.sharing
    device.clock.start()
    while True:
        turn.batches = cut(parts.task, turn.batches, state.progress.limit)
        counts = global_counts(parts, turn)
        statistics = RunningStatistics(parts.model, device, len(turn.batches))
        totals = accumulate(parts, sharing, turn, number, counts, statistics)
        if not device.any(bool(totals.out_of_memory)):
            break
        statistics.undo()
        halve(parts, state, totals.out_of_memory)
    norm = sharing.gradient_norm()
    losses = dict(zip(counts, device.sum(torch.stack([totals.losses[k] for k in counts]).tolist() if counts else []), strict=True))
    finite = math.isfinite(float(norm)) and all(map(math.isfinite, losses.values()))
    turn.logs = {**{k: v / counts[k] for k, v in losses.items()}, **mean_logs(parts, totals), "gradient_norm": float(norm)}
    if not finite and not (device.scaler.is_enabled() and all(map(math.isfinite, losses.values()))):
        statistics.undo()
        refuse(parts, state, turn, number, totals, losses, float(norm))
        return
    statistics.close()
    sharing.step(norm, parts.recipe.train.clip_norm)
    turn.skipped = not finite
    if state.ema and not turn.skipped:
        state.ema.update(state.progress.step)
    device.clock.lap("optimizer")


def global_counts(parts: Parts, turn: Turn) -> dict[str, float]:
    """{loss name: count over all micro-batches of all processes}, known before the first backward; 1 where nothing counts."""
    counts = [parts.task.count(batch) for batch in turn.batches]
    names = sorted({name for ours in parts.device.gather([name for c in counts for name in c]) for name in ours})
    totals = parts.device.sum([sum(c.get(name, 0.0) for c in counts) for name in names])
    return {name: total or 1.0 for name, total in zip(names, totals, strict=True)}


def accumulate(parts: Parts, sharing: Sharing, turn: Turn, number: int, counts: dict[str, float], statistics: RunningStatistics) -> Totals:
    """Forward and backward of this process's micro-batches; gradients are left on the parameters."""
    owed = sharing.begin(len(turn.batches), turn.learns)
    start = torch.zeros((), dtype=torch.float64, device=parts.device.name)
    totals = Totals({name: start for name in counts}, {}, [])
    try:
        for batch in turn.batches:
            parts.device.seed(mix(batch["rng"], number))  # dropout is a function of (seed, step, micro-batch, turn)
            with parts.device.autocast():
                sums, logs = parts.loss(parts.model, batch)
            parts.device.clock.lap("forward")
            objective = torch.stack([sums[name] / counts[name] for name in sums]).sum()
            sharing.backward(objective if objective.requires_grad else None)
            parts.device.clock.lap("backward")
            statistics.after(len(batch["index"]))
            for name, value in sums.items():
                totals.losses[name] = totals.losses[name] + value.detach().double()
            for name, (total, count) in logs.items():
                pair = totals.logs.setdefault(name, [0.0, 0.0])
                pair[0] += total.detach() if isinstance(total, Tensor) else total
                pair[1] += count
            if parts.device.kind != "cuda" and not math.isfinite(float(objective.detach())):
                totals.suspects += batch["index"].tolist()
        for _ in range(owed):
            sharing.backward(None)
    except (RuntimeError, MemoryError) as error:
        totals.out_of_memory = out_of_memory(error)  # not the error: it would keep the activations alive
        if not (totals.out_of_memory and sharing.again):
            raise
    return totals


def mean_logs(parts: Parts, totals: Totals) -> dict[str, float]:
    """{log name: sum / count over all processes}."""
    names = sorted({name for ours in parts.device.gather(list(totals.logs)) for name in ours})
    flat = parts.device.sum([float(x) for name in names for x in totals.logs.get(name, (0.0, 0.0))])
    return {name: flat[2 * i] / max(flat[2 * i + 1], 1e-12) for i, name in enumerate(names)}


def halve(parts: Parts, state: State, reason: str) -> None:
    """Out of memory: micro-batches of half the size from here on, the same batch a step."""
    state.sharing.drop()
    parts.device.release()
    limit = state.progress.limit
    if limit <= 1 or parts.task.couples:
        raise OutOfMemory(
            f"out of memory with micro-batches of {limit} ({parts.task.couples or 'a single sample does not fit'}): {reason}; "
            "use a smaller model or smaller inputs, train.precision=bf16, or a device with more memory"
        )
    state.progress.limit = -(-limit // 2)
    step = state.progress.step + 1
    note = f"out of memory: micro-batches of at most {state.progress.limit} samples from step {step} on, the batch a step stays"
    if any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in parts.model.modules()):
        note += "; BatchNorm now normalizes over fewer samples, which changes what is learned"
    parts.note(note)


def refuse(parts: Parts, state: State, turn: Turn, number: int, totals: Totals, losses: dict[str, float], norm: float) -> None:
    """A turn that is not finite: name the samples, then stop, or leave the step out and count it, as the recipe says."""
    suspects = sorted(
        {i for ours in parts.device.gather(totals.suspects or [int(i) for b in turn.batches for i in b["index"]]) for i in ours}
    )
    names = [parts.train.name(i) for i in suspects]
    state.sharing.drop()
    what = f"step {state.progress.step + 1}, turn {number}: the loss or its gradient is not finite (loss {losses}, gradient norm {norm})"
    where = f"samples: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
    parts.dump(
        "non_finite.json",
        {
            "step": state.progress.step + 1,
            "turn": number,
            "losses": {k: str(v) for k, v in losses.items()},
            "norm": str(norm),
            "samples": names,
        },
    )
    if parts.recipe.train.non_finite == "stop":
        raise NonFinite(
            f"{what}; {where}; nothing of it was learned. "
            "Look at these samples, lower optimizer.lr, set train.clip_norm, or train.precision=fp32"
        )
    turn.skipped = True
    turn.logs = {}
    state.progress.skipped += 1
    parts.note(f"{what}; skipped, {state.progress.skipped} so far; {where}")
