"""One run from its recipe to its end: find or make its directory, assemble, resume, train, finish."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from liandan import memory
from liandan.engine import optim, schedule, sharing
from liandan.engine.sharing import Entries
from liandan.engine.signals import Stop
from liandan.engine.state import State
from liandan.engine.train import Run, train
from liandan.recipe import Fault, Recipe, RecipeError, diff, load_recipe, to_yaml
from liandan.runs import layout as layouts
from liandan.runs import plots, store
from liandan.runs.layout import Layout
from liandan.runs.lock import lock
from liandan.runs.record import Record, read_metrics
from liandan.runtime import assemble, base, weights
from liandan.runtime.device import Device
from liandan.runtime.judge import evaluate_split

Watch = Callable[[dict[str, Any]], None]
_FREELY = ("run.dir", "name", "base")  # differences a resume does not mention
_ALARM = 1.5  # checkpoints' worth of free disk below which a run warns before it starts


class Refused(Exception):
    """What was asked would spoil something; the text says what, and how to insist."""


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        reason: "finished", "stopped early" or "interrupted".
        exit_code: 0, or 130 / 143 when a signal ended it.
        metrics: of the best evaluation.
    """

    layout: Layout
    reason: str
    exit_code: int
    step: int
    best_step: int
    metrics: dict[str, float] = field(default_factory=dict)


def check(recipe: Recipe) -> None:
    """Judge a recipe's open ends, all together, before anything is read or made.

    Raises:
        RecipeError: with every fault.
    """
    faults = open_faults(recipe)
    if faults:
        raise RecipeError(faults)


def open_faults(recipe: Recipe) -> list[Fault]:
    """Faults in names and keyword arguments, against the tables and signatures of every room."""
    faults = assemble.check(recipe)
    optimizers = {name: optim.signature(name) for name in optim.OPTIMIZERS}
    schedules = {name: schedule.signature(name) for name in schedule.SCHEDULES}
    for key, section, table, tried in (
        ("optimizer", recipe.optimizer, optimizers, lambda name, given: optim.build(name, [torch.nn.Parameter(torch.zeros(1))], given)),
        ("schedule", recipe.schedule, schedules, lambda name, given: schedule.SCHEDULES[name](1.0, 1, 2, 1, **given)),
    ):
        faults += assemble.named_faults(recipe, key, section, table) or assemble.tried_faults(recipe, key, section, tried)
    if recipe.schedule.name == "plateau" and recipe.data.val is None:
        where = recipe.document.where("schedule.name")
        faults.append(Fault("schedule.name", where, "a schedule that needs no evaluation, because data.val is null", "plateau"))
    return faults


def start(recipe: Recipe, *, resume: bool = False, allow_data_change: bool = False, watch: Watch = lambda event: None) -> Outcome:
    """Train by a recipe, in a new run directory or, with `resume`, where the run of that directory or name was left.

    Args:
        resume: go on with `run.dir`, else with the name's newest unfinished run; from zero when it has no checkpoint yet.
        allow_data_change: go on although the data is not what it was; the change is written down.
        watch: told what happens, as dicts with `note`, `step` or `evaluated` in them; it only looks.

    Raises:
        RecipeError, DataError, Refused, runs.lock.LockHeld, StateError, NonFinite, OutOfMemory, StoreError.
    """
    check(recipe)
    with assemble.find_device(recipe) as device, Stop() as stop:
        sharing.check(recipe, device)
        root = device.gather(str(find_or_make(recipe, resume).root) if device.main else None)[0]
        layout = Layout(Path(root))
        with lock(layout) if device.main else contextlib.nullcontext():
            try:
                return Session(recipe, layout, device, stop, watch, allow_data_change).go()
            finally:
                if device.main and not layout.is_run():
                    forget(layout)  # under the lock: without it the directory may be another's, who has just begun


def forget(layout: Layout) -> None:
    """Take away the directory of a run that never began, unless there is something in it."""
    with contextlib.suppress(OSError):
        if [path.name for path in layout.root.iterdir()] == [layout.lock.name]:
            layout.lock.unlink()
            layout.root.rmdir()


def name_of(recipe: Recipe) -> str:
    """What a run is called that nobody named: as its data."""
    return recipe.name or Path(recipe.data.train.path).stem or recipe.task


def find_or_make(recipe: Recipe, resume: bool) -> Layout:
    """The directory of a run that goes on, or a new one."""
    name = name_of(recipe)
    if recipe.run.dir is not None:
        exact = Layout(Path(recipe.run.dir))
        if resume and exact.root.is_dir():
            return exact
        return layouts.new_run(recipe.run.dir)
    if resume:
        # a finished run goes on too, when the duration has become longer
        known = layouts.newest_unfinished(name) or next(iter(layouts.runs_named(name)), None)
        if known is not None:
            return known
    return layouts.new_run(layouts.RUNS, name)


class Session:
    """What is shared between setting up, training and finishing one run."""

    def __init__(self, recipe: Recipe, layout: Layout, device: Device, stop: Stop, watch: Watch, allow_data_change: bool) -> None:
        self.recipe, self.layout, self.device, self.stop = recipe, layout, device, stop
        self.watch = watch if device.main else lambda event: None
        self.allow_data_change = allow_data_change
        self.record: Record | None = None
        self.notes: list[str] = []
        self.saved_step = -1
        self.changed = False  # whether a resume has another recipe or other data than the run has had so far
        self.full = False  # whether the newest row still waits for room on the disk

    def note(self, text: str) -> None:
        """Say something once: to whoever watches, and in log.txt."""
        if not self.device.main:
            return
        self.watch({"note": text})
        if self.record is not None:
            self.record.log(text)
        else:
            self.notes.append(text)

    def go(self) -> Outcome:
        """Set up, train, finish."""
        for text in self.recipe.document.notes:
            self.note(text)
        goes_on = self.device.gather(self.layout.resolved.exists())[0]  # the main process may write it before the others look
        if self.recipe.train.threads != "auto":
            torch.set_num_threads(self.recipe.train.threads)
        parts = self.resumed_parts() if goes_on else self.new_parts()
        torch.set_num_threads(int(parts.recipe.train.threads))
        parts.note, parts.dump, parts.keep_samples = self.note, self.dump, self.keep_samples
        state = State(parts.model, sharing.of(parts), parts.task, self.device, parts.recipe.train.ema, parts.plan.micro_batch_size)
        found = self.restore(state) if goes_on else None
        if state.progress.limit < parts.plan.micro_batch_size:  # memory ran out before
            self.device.release()
        else:
            memory.keep_freed()
        if self.device.main and self.changed:
            self.write_changes(parts)
        parts.loader.unreadable |= set(state.progress.unreadable)
        if self.device.main:
            self.record = Record.open(self.layout, found)
            for text in self.notes:
                self.record.log(text)
            self.warn_of_space(state)
        if found is not None and state.progress.step >= parts.plan.steps and state.progress.evaluated == state.progress.step:
            self.note(f"this run is finished, at step {state.progress.step}; a longer train.duration would extend it")
        run = Run(parts, state, self.row, lambda best: self.save(parts, state, best), lambda: self.stop.received is not None, self.watch)
        self.watch({"begin": True, "step": state.progress.step, "steps": parts.plan.steps, "run": str(self.layout.root)})
        with self.closed_record():
            reason = train(run)
            return self.finish(parts, state, reason)

    @contextlib.contextmanager
    def closed_record(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if self.record is not None:
                self.record.log(f"ended by {type(error).__name__}: {error}")
                reason = f"{type(error).__name__}: {error}".partition("\n")[0]
                with contextlib.suppress(store.StoreError):  # what is on its way says more
                    self.record.close()
                    store.finish(self.layout, finished=False, reason=reason)
            raise
        if self.record is not None:
            self.record.close()

    # -- beginning ----------------------------------------------------------------------------------------------------------
    def new_parts(self) -> assemble.Parts:
        """Assemble, and write down what the run is made of; resolved.yaml last: it says that the rest is there."""
        found = weights.find(self.recipe)
        parts = assemble.assemble(self.recipe, self.device, initial=found, note=self.note)
        if self.device.main:
            if told := base.keep(self.recipe, self.layout, found):
                self.note(told)
            store.write_text_atomic(self.layout.recipe, to_yaml(self.recipe))
            store.write_json_atomic(self.layout.environment, environment(self.device))
            store.write_json_atomic(self.layout.labels, parts.task.labels)
            store.write_json_atomic(self.layout.preprocessing, parts.pipeline.to_json())
            store.write_json_atomic(self.layout.data, parts.facts)
            store.write_text_atomic(self.layout.resolved, to_yaml(parts.recipe))
        self.device.any(False)  # nobody goes on before the directory is complete
        return parts

    def resumed_parts(self) -> assemble.Parts:
        """Assemble by resolved.yaml, with what the recipe at hand says otherwise; decide nothing again."""
        kept = load_recipe(self.layout.resolved)
        asked = load_recipe(self.layout.recipe) if self.layout.recipe.exists() else kept
        changes = [(key, old, new) for key, old, new in diff(asked, self.recipe) if not key.startswith(_FREELY)]
        for key, old, new in changes:
            self.note(f"changed on resume: {key}: {old} -> {new}")
        recipe = kept.with_values({key: new for key, _, new in changes}) if changes else kept
        splits = assemble.read_splits(recipe)
        was = store.read_json(self.layout.data)
        differences = assemble.data_differences(was, splits.facts)
        if differences:
            text = "the data is not what it was when this run began:\n  " + "\n  ".join(differences)
            if not self.allow_data_change:
                raise Refused(f"{text}\nbring it back, start a new run, or go on with --allow-data-change (the change is written down)")
            self.note(text)
        preprocessing = store.read_json(self.layout.preprocessing)
        fresh = store.newest_valid(self.layout, lambda _: None) is None
        away, recipe = recipe, base.at_home(recipe, self.layout)
        # an adapter's checkpoint is not the whole model, and base/ has weights for adapters alone
        initial = weights.find(recipe) if recipe.model.adapter is not None else weights.find(away) if fresh else None
        parts = assemble.assemble(recipe, self.device, splits=splits, preprocessing=preprocessing, initial=initial, note=self.note)
        asked, now = was.get("teachers", {}), parts.facts["teachers"]
        taught = [f"{key}: {asked[key]} is now {now.get(key)}" for key in asked if asked[key] != now.get(key)]
        if taught and not self.allow_data_change:
            raise Refused("the teacher is not the one this run began with:\n  " + "\n  ".join(taught) + "\ngo on with --allow-data-change")
        if parts.task.labels != store.read_json(self.layout.labels):
            raise Refused("the classes are not those of labels.json: the model's outputs would change their meaning; start a new run")
        self.changed = bool(changes or differences or taught)
        return parts

    def write_changes(self, parts: assemble.Parts) -> None:
        """The run's recipe and data from here on: written when its checkpoint fits them and all processes have read the old."""
        store.write_json_atomic(self.layout.data, parts.facts)
        store.write_text_atomic(self.layout.resolved, to_yaml(parts.recipe))
        store.write_text_atomic(self.layout.recipe, to_yaml(self.recipe))  # last: until then a resume finds the changes once more

    def restore(self, state: State) -> int | None:
        """Take the newest valid checkpoint's place; None when there is none yet."""
        # one process judges the files, all read the same ones
        folder = self.device.gather(str(store.newest_valid(self.layout, self.note) or "") if self.device.main else "")[0]
        if not folder:
            self.note("no checkpoint yet: from zero")
            return None
        tensors, documents = store.read_checkpoint(Path(folder), verify=False)
        state.restore(tensors, documents)
        self.saved_step = state.progress.step
        self.note(f"resumed at step {state.progress.step} from {folder}")
        return state.progress.step

    def warn_of_space(self, state: State) -> None:
        needed, free = store.estimate(state.files({})[0]), store.free_space(self.layout.root)
        if free < needed * _ALARM * 3:  # the optimizer's state comes with the first step: twice the weights for Adam
            self.note(f"warning: {free / 1e6:,.0f} MB free for checkpoints of about {3 * needed / 1e6:,.0f} MB: the disk may run full")

    # -- on the way ---------------------------------------------------------------------------------------------------------
    def row(self, step: int, epoch: float, seconds: float, metrics: dict[str, float]) -> None:
        """A row of metrics.jsonl; one that a full disk does not take is written with a later one, or made again by a resume."""
        if self.record is None:
            return
        try:
            self.record.row(step, epoch, seconds, metrics)
            self.full = False
        except store.StoreError as error:
            if not store.is_full(error):
                raise
            if not self.full:
                self.note(f"the run goes on: {error}")
            self.full = True

    def save(self, parts: assemble.Parts, state: State, best: bool) -> None:
        """A checkpoint of this step; one process writes. A full disk costs this checkpoint, not the run."""
        progress = state.progress
        if self.saved_step == progress.step:
            return
        progress.unreadable = sorted({i for ours in self.device.gather(parts.loader.unreadable) for i in ours})
        entries = state.sharing.state()
        written = self.record is None or self.write(parts, state, entries, best)
        if not self.device.any(not written):
            self.saved_step = progress.step
        elif best:  # it is not on the disk, so it cannot be the best: the next evaluation is compared with the one that is
            pointer = store.read_pointer(self.layout.best) or {}
            progress.best, progress.best_step = pointer.get("value"), pointer.get("step") or 0

    def write(self, parts: assemble.Parts, state: State, entries: Entries, best: bool) -> bool:
        """The checkpoint's files; false when the disk is full and the run may go on without this one."""
        progress = state.progress
        assert self.record is not None
        try:
            self.record.sync()
            store.write_checkpoint(self.layout, progress.step, *state.files(entries))
            if best:
                metric, mode = parts.plan.best
                store.point(self.layout.best, progress.step, metric=metric, mode=mode, value=progress.best)
            store.prune(self.layout, parts.recipe.checkpoint.keep, warn=self.note)
        except store.StoreError as error:
            if not store.is_full(error) or progress.step >= parts.plan.steps or self.stop.received is not None:
                raise
            self.note(f"checkpoint of step {progress.step} not written, the run goes on and tries at the next one: {error}")
            return False
        return True

    def dump(self, name: str, value: Any) -> None:
        if self.device.main:
            store.write_json_atomic(self.layout.root / name, value)

    def keep_samples(self, step: int, shown: dict[str, str | bytes]) -> None:
        if not self.device.main:
            return
        try:
            for suffix, content in shown.items():
                store.write_bytes_atomic(
                    self.layout.samples / f"step-{step:08d}{suffix}", content.encode() if isinstance(content, str) else content
                )
        except store.StoreError as error:
            if not store.is_full(error):
                raise
            self.note(f"the run goes on: {error}")

    # -- the end ------------------------------------------------------------------------------------------------------------
    def finish(self, parts: assemble.Parts, state: State, reason: str) -> Outcome:
        """Pictures, evaluations of the best checkpoint, and the last word in last.json."""
        progress = state.progress
        outcome = Outcome(
            self.layout, reason, self.stop.exit_code if reason == "interrupted" else 0, progress.step, progress.best_step or progress.step
        )
        if reason == "interrupted":
            if self.device.main:
                store.finish(self.layout, finished=False, reason=reason)
            return outcome
        if progress.best_step and progress.best_step != progress.step:
            tensors, _ = store.read_checkpoint(self.layout.checkpoint(progress.best_step))
            parts.model.load_state_dict(tensors["model.safetensors"])
        elif state.ema is not None:
            parts.model.load_state_dict(state.ema.mean)
        if self.record is not None:  # before the evaluations, whose reports show them
            self.record.sync()
            metric, mode = parts.plan.best
            plots.curves(read_metrics(self.layout), self.layout.plots / "curves.png", {"metric": metric, "mode": mode})
        for split, samples in (("val", parts.val), ("test", parts.test)):
            if samples is not None:
                loader = assemble.make_loader(parts.recipe, samples, self.device)
                outcome.metrics |= evaluate_split(self.layout, parts, loader, split, parts.plan.evaluate_batch_size)
                if loader.unreadable:
                    self.note(f"{len(loader.unreadable)} unreadable samples left out of {split}")
        if parts.loader.unreadable:
            names = ", ".join(parts.train.name(i) for i in sorted(parts.loader.unreadable)[:5])
            self.note(f"{len(parts.loader.unreadable)} unreadable training samples replaced: {names}")
        if self.record is not None:
            store.finish(self.layout, finished=True, reason=reason)
        return outcome


def environment(device: Device) -> dict[str, Any]:
    """What the run's bits may depend on: versions, processor, processes."""
    versions = {}
    for package in ("liandan", "torch", "torchvision", "timm", "tokenizers", "numpy", "safetensors"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "python": platform.python_version(), "platform": platform.platform(), "machine": platform.machine(), "versions": versions,
        "device": device.name, "processes": device.world, "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "command": sys.argv, "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "cwd": os.getcwd(),
    }  # fmt: skip
