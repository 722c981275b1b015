"""How long a run will take and how much memory: a few real steps of parts that are then thrown away."""

from __future__ import annotations

import time
from dataclasses import dataclass

from liandan.engine import optim
from liandan.engine.sharing import Reduced
from liandan.engine.state import State
from liandan.engine.train import make_step
from liandan.recipe import Recipe
from liandan.runtime import assemble, weights
from liandan.runtime.device import peak_memory

_STEPS = 4
_SECONDS = 20.0  # the probe stops after this long, whatever it has seen


@dataclass(frozen=True)
class Probe:
    """What a few steps say of the whole run: seconds of training, and the peak memory so far in bytes."""

    steps: int
    seconds_per_step: float
    memory: int

    def __str__(self) -> str:
        minutes = self.steps * self.seconds_per_step / 60
        return f"about {minutes:.1f} minutes for {self.steps} steps, evaluations aside; {self.memory / 2**20:,.0f} MiB of memory"


def probe(recipe: Recipe) -> Probe:
    """Time a few steps; the first, which warms up caches and kernels, is not counted."""
    from liandan.engine.session import check

    check(recipe)
    device = assemble.find_device(recipe)
    parts = assemble.assemble(recipe, device, initial=weights.find(recipe))
    sharing = Reduced(parts.named, optim.of(parts), device)
    state = State(parts.model, sharing, parts.task, device, parts.recipe.train.ema, parts.plan.micro_batch_size)
    times: list[float] = []
    began = started = time.perf_counter()
    for batches in parts.loader.training(parts.plan.batch_size, parts.plan.micro_batch_size, 0, min(_STEPS, parts.plan.steps)):
        make_step(parts, state, batches)
        now = time.perf_counter()
        times.append(now - started)
        started = now
        if now - began > _SECONDS:
            break
    steady = times[1:] or times
    return Probe(parts.plan.steps, sum(steady) / len(steady), peak_memory())
