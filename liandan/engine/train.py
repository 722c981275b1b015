"""The training loop, on one page: the same for every task.

    a step's samples -> prepare -> turns -> micro-batches -> count, loss, backward -> reduce -> check -> step
                     -> log -> evaluate? -> save? -> stop?

Checkpoints fall between steps; a step that was killed is made again. Observers only look.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from liandan.engine import schedule
from liandan.engine.state import State
from liandan.engine.turn import cut, make_turn
from liandan.randomness import mix
from liandan.runtime.assemble import Parts
from liandan.tasks.evaluation import Interrupted, evaluate

_PREPARE = 1 << 20  # the number, among a step's turns, of the draws made before them


@dataclass
class Run:
    """What the loop works on: parts, their state, where it is written down, and who may look or stop it."""

    parts: Parts
    state: State
    row: Callable[[int, float, float, dict[str, float]], None]  # a row of metrics.jsonl: step, epoch, seconds, metrics
    save: Callable[[bool], None]  # write a checkpoint; true when it is the best so far
    stopped: Callable[[], bool]
    watch: Callable[[dict[str, Any]], None]


def train(run: Run) -> str:
    """Go on from the state's step to the end of the recipe's duration.

    Returns:
        Why it ended: "finished", "stopped early" or "interrupted"; there is a checkpoint of that step in each case.
    """
    parts, progress, plan = run.parts, run.state.progress, run.parts.plan
    reason = between_steps(run) if progress.step else None  # an evaluation that was interrupted is made first
    if reason:
        return reason
    steps = parts.loader.training(plan.batch_size, plan.micro_batch_size, progress.step, plan.steps)
    for batches in parts.device.clock.waiting(steps):
        started = time.perf_counter()
        make_step(parts, run.state, batches)
        progress.step += 1
        progress.seconds += time.perf_counter() - started
        reason = between_steps(run)
        if reason:
            return reason
    raise AssertionError("the step that ends the duration ends the loop")


def make_step(parts: Parts, state: State, batches: list[dict[str, Any]]) -> None:
    """One step: its samples, what is drawn for them, and as many turns as the task takes."""
    task, model, device, step = parts.task, parts.model, parts.device, state.progress.step
    schedule.set_rates(state.optimizer, parts.plan, step, state.progress.reduced)
    parts.training_mode(step)
    device.clock.start()
    batches = cut(task, [device.move(batch) for batch in batches], state.progress.limit)
    with torch.no_grad(), device.autocast():
        for i, batch in enumerate(batches):
            device.seed(mix(batch["rng"], _PREPARE))
            batches[i] = task.prepare(model, batch)
    device.clock.lap("prepare")
    turns, number = task.turns(model, batches, device), 0
    while True:
        with torch.no_grad(), device.autocast():
            turn = next(turns, None)
        if turn is None:
            return
        parts.training_mode(step)
        make_turn(parts, state, turn, number)
        state.progress.add(turn.logs)
        number += 1


def between_steps(run: Run) -> str | None:
    """Log, evaluate, save, stop: whatever is due after this step. Returns why the run ends here, or None."""
    parts, progress, plan = run.parts, run.state.progress, run.parts.plan
    finished = progress.step >= plan.steps
    if parts.device.any(run.stopped()):
        run.save(False)
        return "interrupted"
    epoch, judged, logs, best = progress.step / plan.steps_per_epoch, {}, {}, False
    if parts.val_loader is not None and (finished or progress.step % plan.evaluate_every == 0) and progress.evaluated != progress.step:
        try:
            judged = judge(run)
        except Interrupted:
            run.save(False)  # the evaluation is made again, whole, by the run that goes on
            return "interrupted"
        best = note_best(run, judged)
    if judged or finished or progress.step % plan.log_every == 0:
        logs = {f"train/{name}": value for name, value in progress.take().items()}
        if logs or judged:
            # the step's, not the optimizer's: a run that has just gone on made none yet
            logs["lr"] = schedule.learning_rate(run.state.optimizer.defaults["lr"], plan, progress.step - 1, progress.reduced)
            run.row(progress.step, epoch, progress.seconds, {**logs, **parts.device.clock.take(), **judged})
    if judged:
        progress.reduced = schedule.judged(progress.reduced, run.state.optimizer.defaults["lr"], plan, judged[plan.best[0]])
    run.watch({"step": progress.step, "steps": plan.steps, "epoch": epoch, **logs, **judged})
    early = plan.stop_after is not None and progress.worse >= plan.stop_after
    if best or finished or early or progress.step % plan.save_every == 0:
        run.save(best)
    return "finished" if finished else "stopped early" if early else None


def judge(run: Run) -> dict[str, float]:
    """Metrics of the validation split by the averaged weights, and samples to look at."""
    parts, progress = run.parts, run.state.progress
    assert parts.val_loader is not None
    with run.state.averaged():
        rows = evaluate(
            parts.task, parts.model, parts.val_loader.evaluation(parts.plan.evaluate_batch_size), parts.device,
            run.stopped, lambda done: run.watch({"evaluated": done}),
        )  # fmt: skip
        parts.model.eval()
        shown = parts.task.show(parts.model, parts.pipeline, parts.val, parts.recipe.seed, parts.device)
    parts.keep_samples(progress.step, shown)
    progress.evaluated = progress.step
    return {f"val/{name}": value for name, value in parts.task.measured(rows).items()}


def note_best(run: Run, judged: dict[str, float]) -> bool:
    """Whether this evaluation is the best so far; counts the worse ones since."""
    progress, (metric, mode) = run.state.progress, run.parts.plan.best
    value = judged[metric]
    if math.isfinite(value) and (progress.best is None or (value > progress.best if mode == "max" else value < progress.best)):
        progress.best, progress.best_step, progress.worse = value, progress.step, 0
        return True
    progress.worse += 1
    return False
