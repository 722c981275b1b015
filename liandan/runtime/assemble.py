"""Recipe or run directory -> parts. The only file that reads the tables of several rooms."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from liandan import models, sources, tasks
from liandan.data import transforms
from liandan.data.fingerprint import differences
from liandan.data.loader import Loader, Samples
from liandan.data.pipelines import PIPELINES
from liandan.data.readers import read
from liandan.data.split import hold_out
from liandan.models import adapter
from liandan.models.freeze import freeze
from liandan.models.weights import Report, load_weights
from liandan.randomness import mix
from liandan.recipe import Fault, HoldOut, Recipe, RecipeError, check_arguments, nearest
from liandan.runtime.device import Device, choose_device, choose_precision, usable_cores
from liandan.runtime import weights
from liandan.runtime.plan import Plan, make_plan
from liandan.tasks import Task

_INITIAL = 5  # the use of the key that draws initial weights; data.order counts the others
_COMPILE_STEPS = 2000  # below this many steps torch.compile does not earn its minutes back
_CATALOGUE = "source:"  # a data path that names an entry of `liandan data list`
_CACHE_SHARE = 0.25  # of the memory available, for decoded images


@dataclass
class Parts:
    """Everything a run is made of, on its device."""

    recipe: Recipe  # resolved: no `auto` is left
    task: Task
    model: nn.Module
    device: Device
    pipeline: Any
    train: Samples
    val: Samples | None
    test: Samples | None
    loader: Loader
    val_loader: Loader | None
    plan: Plan
    frozen: list[nn.Module]
    named: list[tuple[str, nn.Parameter]]  # the parameters that learn
    loss: Callable[..., Any]  # the task's loss, compiled if the recipe says so
    facts: dict[str, Any]  # data.json
    note: Callable[[str], None] = lambda text: None
    dump: Callable[[str, Any], None] = lambda name, value: None
    keep_samples: Callable[[int, dict[str, str | bytes]], None] = lambda step, shown: None

    @functools.cached_property
    def modes(self) -> list[tuple[nn.Module, bool]]:
        """Every module of the model, and whether it is in training mode while the model learns."""
        asleep = {module for part in self.frozen for module in part.modules()}
        return [(module, module not in asleep) for module in self.model.modules()]


def data_differences(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Sentences on how the data changed since data.json was written; empty when it did not."""
    out: list[str] = []
    for split in sorted({*was["fingerprints"], *now["fingerprints"]}):
        old, new = was["fingerprints"].get(split), now["fingerprints"].get(split)
        if old != new:
            rows = differences(was["manifests"].get(split), now["manifests"].get(split))
            out += [f"{split}: {row}" for row in rows or [f"fingerprint {old} is now {new}"]]
    if not out and was["held_out"] != now["held_out"]:
        out.append("other samples are held out for validation")
    return out


@dataclass
class Splits:
    """Raw sources of a recipe's splits, and what is written down about them."""

    train: Any
    val: Any | None
    test: Any | None
    facts: dict[str, Any] = field(default_factory=dict)


def read_splits(recipe: Recipe) -> Splits:
    """Read the recipe's data: names, sizes and classes, not the samples themselves.

    Raises:
        DataError: the data is missing or not what the format expects.
    """
    spec = recipe.data
    whole = read_source(spec.train)
    labels = getattr(whole, "labels", None)
    fingerprints = {"train": whole.fingerprint()}
    manifests = {"train": whole.manifest()}
    train, val, held_out = whole, None, None
    if isinstance(spec.val, HoldOut):
        train, val, held_out = hold_out(whole, spec.val.hold_out, spec.val.stratify, recipe.seed)
    elif spec.val is not None:
        val = read_source(spec.val, labels)
    test = read_source(spec.test, labels) if spec.test is not None else None
    for name, source, asked in (("val", val, spec.val), ("test", test, spec.test)):
        if source is not None and not isinstance(asked, HoldOut):
            fingerprints[name], manifests[name] = source.fingerprint(), source.manifest()
    facts = {"fingerprints": fingerprints, "manifests": manifests, "held_out": held_out}
    if labels:
        counts = torch.bincount(torch.as_tensor(train.targets), minlength=len(labels)).tolist()
        facts["classes"] = dict(zip(labels, counts, strict=True))
    return Splits(train, val, test, facts)


def read_source(spec: Any, labels: list[str] | None = None) -> Any:
    """The raw source of a `{path, format, ...}` section; `source:<name>` is fetched from the catalogue of sources first.

    Args:
        labels: of the training data, which its classes must be.
    """
    known_labels = {} if labels is None else {"labels": labels}
    if not spec.path.startswith(_CATALOGUE):
        return read(Path(spec.path), spec.format, **spec.arguments, **known_labels)
    name = spec.path.removeprefix(_CATALOGUE)
    known = sources.SOURCES[name].options if name in sources.SOURCES else ()
    path = sources.get(name, **{k: v for k, v in spec.arguments.items() if k in known})
    return read(path, spec.format, **{k: v for k, v in spec.arguments.items() if k not in known}, **known_labels)


def check(recipe: Recipe) -> list[Fault]:
    """Faults in the open ends of a recipe that belong to data, models and tasks: names, and keyword arguments against signatures."""
    faults: list[Fault] = []
    document = recipe.document
    if recipe.task not in tasks.TASKS:
        faults.append(_unknown(recipe, "task", recipe.task, list(tasks.TASKS)))
    else:
        task = tasks.resolve(recipe.task)
        if recipe.loss is not None:
            faults += named_faults(recipe, "loss", recipe.loss, {n: keyword_only(f) for n, f in task.losses.items()})
        known = list(task.metrics)
        faults += [
            _unknown(recipe, f"evaluate.metrics[{i}]", m, known) for i, m in enumerate(recipe.evaluate.metrics or ()) if m not in known
        ]
        best = recipe.evaluate.best
        if best is not None and best.metric.removeprefix("val/") not in (recipe.evaluate.metrics or known):
            faults.append(_unknown(recipe, "evaluate.best.metric", best.metric, [f"val/{m}" for m in recipe.evaluate.metrics or known]))
    try:
        builder = inspect.signature(models.resolve(recipe.model.name))
        ours = [n for n, p in builder.parameters.items() if p.default is p.empty]  # what has no default is told by the task
        faults += check_arguments(recipe.model.arguments, builder, "model", document, skip=ours)
        if recipe.model.adapter is not None:
            faults += named_faults(recipe, "model.adapter", recipe.model.adapter, dict.fromkeys(adapter.NAMES, adapter.signature()))
    except models.ModelError as error:
        faults.append(Fault("model.name", document.lines.get("model.name", ""), "the name of a model", recipe.model.name, str(error)))
    for split in ("train", "eval"):
        steps = getattr(recipe.data.transforms, split)
        for i, step in enumerate(() if isinstance(steps, str) else steps):
            faults += named_faults(
                recipe, f"data.transforms.{split}[{i}]", step, {n: transforms.signature(n) for n in transforms.TRANSFORMS}
            )
    return faults


def keyword_only(function: Callable[..., Any]) -> inspect.Signature:
    """The part of a signature that a recipe may fill."""
    full = inspect.signature(function)
    return full.replace(parameters=[p for p in full.parameters.values() if p.kind is p.KEYWORD_ONLY])


def named_faults(recipe: Recipe, key: str, section: Any, table: Mapping[str, inspect.Signature]) -> list[Fault]:
    """Faults of a `{name, **arguments}` section against a table of signatures."""
    if section.name not in table:
        return [_unknown(recipe, f"{key}.name", section.name, list(table))]
    return check_arguments(section.arguments, table[section.name], key, recipe.document)


def _unknown(recipe: Recipe, key: str, received: str, known: list[str]) -> Fault:
    near = nearest(received, known)
    lines = recipe.document.lines
    where = lines.get(key) or lines.get(key.rpartition(".")[0], "")
    return Fault(key, where, "one of: " + ", ".join(known), received, f'did you mean "{near}"?' if near else "")


def assemble(
    recipe: Recipe,
    device: Device,
    *,
    splits: Splits | None = None,
    preprocessing: dict[str, Any] | None = None,
    initial: Path | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Parts:
    """Parts of a run on `device`.

    Args:
        recipe: with `auto` where nobody decided; the parts' own recipe has none left.
        splits: already read, or None to read them here.
        preprocessing: of the run that goes on (preprocessing.json), or None to fit it to the data.
        initial: a local file or folder for model.weights, already found.
        note: told each choice `auto` made, with its reason.
    """
    splits = splits or read_splits(recipe)
    task_type = tasks.resolve(recipe.task)
    pipeline = (
        fit_pipeline(recipe, task_type, splits.train) if preprocessing is None else PIPELINES[task_type.kind].from_json(preprocessing)
    )
    labels = getattr(splits.train, "labels", None)
    task = task_type({"name": recipe.loss.name, **recipe.loss.arguments} if recipe.loss else None, labels, pipeline.describe())
    model = build_model(recipe, task)
    report = load_weights(model, initial) if initial is not None else Report()
    if initial is not None:
        note(str(report))
    if recipe.model.freeze and recipe.model.weights == "none":
        parts = ", ".join(recipe.model.freeze)
        note(f"WARNING: {parts} is frozen with random weights (model.weights=none) and never learns: give weights, or model.freeze=[]")
    model = adapted(recipe, model, report)
    recipe = resolve(recipe, model, device, note)
    held = freeze(model, recipe.model.freeze).modules if recipe.model.freeze else ()
    frozen = [model.get_submodule(name) for name in held] + task.frozen_modules(model)
    for module in frozen:
        module.requires_grad_(False)
    device.precision = str(recipe.train.precision)
    model = device.place(model)
    train = pipeline.samples(splits.train, training=True)
    val, test = (pipeline.samples(s, training=False) if s is not None else None for s in (splits.val, splits.test))
    recipe = share_cores(recipe, train.resident, device, note)
    plan = make_plan(recipe, task, len(train))
    return Parts(
        recipe, task, model, device, pipeline, train, val, test,
        make_loader(recipe, train, device), make_loader(recipe, val, device) if val is not None else None, plan, frozen,
        [(n, p) for n, p in model.named_parameters() if p.requires_grad],
        torch.compile(task.loss, dynamic=True) if recipe.train.compile else task.loss,
        {**splits.facts, "samples": {name: len(s) for name, s in (("train", train), ("val", val), ("test", test)) if s is not None}}, note,
    )  # fmt: skip


def fit_pipeline(recipe: Recipe, task_type: type[Task], train: Any) -> Any:
    """The data pipeline of a task, with its `auto`s decided from the model's own preprocessing and the training split."""
    steps_of = {
        split: steps if isinstance(steps, str) else [{"name": s.name, **s.arguments} for s in steps]
        for split, steps in (("train", recipe.data.transforms.train), ("eval", recipe.data.transforms.eval))
    }
    defaults = {**models.defaults(recipe.model.name), **weights.preprocessing(recipe)}
    given = recipe.model.arguments
    if "in_chans" in given:
        defaults["channels"] = given["in_chans"]
    if "size" in given:
        defaults["size"] = given["size"]
    return PIPELINES[task_type.kind].fit(
        train,
        transforms=steps_of,
        text=recipe.data.text.model_dump(),
        defaults=defaults,
        cache_limit=int(available_memory() * _CACHE_SHARE),
    )


def build_model(recipe: Recipe, task: Task) -> nn.Module:
    """The model, its initial weights drawn from the seed alone; told of its data what its builder can be told."""
    known = {k: v for k, v in task.model_arguments().items() if models.accepts(recipe.model.name, k)}
    for key, given in recipe.model.arguments.items():
        needed = known.get(key)
        if isinstance(needed, int) and isinstance(given, int) and given < needed:
            where = recipe.document.lines.get(f"model.{key}", "")
            raise RecipeError([Fault(f"model.{key}", where, f"at least {needed}, which the data needs", str(given), "leave it out")])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(recipe.seed, _INITIAL))
        return models.build(recipe.model.name, **{**known, **recipe.model.arguments})


def adapted(recipe: Recipe, model: nn.Module, loaded: Report) -> nn.Module:
    """The model with the recipe's adapter, if it has one, whose initial weights are drawn from the seed alone.

    Args:
        loaded: what became of the model's own weights.
    """
    if recipe.model.adapter is None:
        return model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(recipe.seed, _INITIAL, 1))
        return adapter.adapt(model, recipe.model.adapter.name, recipe.model.adapter.arguments, loaded.fresh)


def resolve(recipe: Recipe, model: nn.Module, device: Device, note: Callable[[str], None]) -> Recipe:
    """Decide every `auto` that is still open, by its rule, and say so."""
    chosen: dict[str, Any] = {}

    def decide(key: str, open_: bool, value: Any, reason: str) -> None:
        if open_:
            chosen[key] = value
            note(f"{key} = {value}: {reason}")

    train = recipe.train
    decide("device", recipe.device == "auto", device.kind, choose_device("auto").reason)
    precision = choose_precision(device.name, model)
    decide("train.precision", train.precision == "auto", precision.value, precision.reason)
    pays = device.kind == "cuda" and (train.duration.steps or _COMPILE_STEPS) >= _COMPILE_STEPS
    decide(
        "train.compile",
        train.compile == "auto",
        pays,
        "long enough to pay for it" if pays else "eager kernels are as fast here, or the run is too short to pay for it",
    )
    decide("train.micro_batch_size", train.micro_batch_size == "auto", train.batch_size, "the whole batch; halved if memory runs out")
    return recipe.with_values(chosen) if chosen else recipe


def share_cores(recipe: Recipe, resident: bool, device: Device, note: Callable[[str], None]) -> Recipe:
    """Decide data workers and threads together: on a CPU they share the cores.

    Threads that wait for one another at every operation, while a data worker has one's core, wait for milliseconds: two threads beside
    two workers on two cores were ten times slower than one.
    """
    cores, chosen = max(1, usable_cores() // device.world), {}
    workers = recipe.data.workers
    if workers == "auto":
        workers, why = (0, "the data is resident") if resident else (min(4, cores), "one for each usable core, at most four")
        chosen["data.workers"] = workers
        note(f"data.workers = {workers}: {why}")
    if recipe.train.threads == "auto":
        busy = 0 if resident or device.kind != "cpu" else workers
        chosen["train.threads"] = max(1, cores - busy)
        note(f"train.threads = {chosen['train.threads']}: {cores} usable cores a process, {busy} of them for data workers")
    return recipe.with_values(chosen) if chosen else recipe


def make_loader(recipe: Recipe, samples: Samples, device: Device) -> Loader:
    """The loader of a split for this process."""
    spec = recipe.data
    return Loader(
        samples, recipe.seed, rank=device.rank, world=device.world, workers=0 if spec.workers == "auto" else spec.workers,
        timeout=spec.worker_timeout, unreadable=spec.unreadable, max_unreadable=spec.max_unreadable,
    )  # fmt: skip


def available_memory() -> int:
    """Memory that can still be used, in bytes."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 4 << 30


def find_device(recipe: Recipe) -> Device:
    """The device a recipe asks for, or the best one here."""
    try:
        return Device(choose_device(recipe.device).value)
    except ValueError as error:
        raise RecipeError(
            [Fault("device", recipe.document.lines.get("device", ""), "a device this machine has", recipe.device, str(error))]
        ) from error
