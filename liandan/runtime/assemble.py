"""Recipe or run directory -> parts. The only file that reads the tables of several rooms."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from liandan import models, sources, tasks
from liandan.data import transforms
from liandan.data.fingerprint import differences
from liandan.data.folds import fold
from liandan.data.loader import Loader, Samples
from liandan.data.pipelines import PIPELINES
from liandan.data.readers import read
from liandan.data.sampling import SAMPLINGS, Sampling
from liandan.data.split import hold_out
from liandan.data.stats import class_counts
from liandan.doctor.cpu import memory_available
from liandan.models import adapter
from liandan.models.depth import depths
from liandan.models.freeze import Frozen, freeze, thaw
from liandan.recipe import Fault, HoldOut, Recipe, RecipeError, check_arguments, nearest
from liandan.runtime import model as made
from liandan.runtime import weights
from liandan.runtime.compiled import compiled
from liandan.runtime.device import Device, choose_device, choose_precision, usable_cores
from liandan.runtime.plan import Plan, in_steps, make_plan
from liandan.runtime.teacher import open_teacher
from liandan.tasks import Task
from liandan.tasks.task import TARGETS

_COMPILE_STEPS = 2000  # below this many steps torch.compile does not earn its minutes back
_CATALOGUE = "source:"  # a data path that names an entry of `liandan data list`
_CACHE_SHARE = 0.25  # of the memory available, for decoded images


@dataclass
class Stage:
    """What is frozen from step `since` on: modules that stay in eval, names of parameters that do not learn."""

    since: int
    modules: list[nn.Module]
    parameters: frozenset[str]


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
    stages: list[Stage]  # what is frozen, from the first step on
    named: list[tuple[str, nn.Parameter]]  # the parameters that learn, at some time
    loss: Callable[..., Any]  # the task's loss, compiled if the recipe says so
    facts: dict[str, Any]  # data.json
    note: Callable[[str], None] = lambda text: None
    dump: Callable[[str, Any], None] = lambda name, value: None
    keep_samples: Callable[[int, dict[str, str | bytes]], None] = lambda step, shown: None

    stage: Stage | None = None  # the one the model is in
    modes: list[tuple[nn.Module, bool]] = field(default_factory=list)  # every module, and whether it is in training mode in this stage

    def training_mode(self, step: int) -> None:
        """Training mode for what learns at `step`; the BatchNorm and dropout of what is frozen, which `train()` wakes, go back to sleep."""
        stage = [s for s in self.stages if s.since <= step][-1]
        if stage is not self.stage:
            self.stage = stage
            for name, parameter in self.named:
                parameter.requires_grad_(name not in stage.parameters)
            asleep = {module for part in stage.modules for module in part.modules()}
            self.modes = [(module, module not in asleep) for module in self.model.modules()]
        if all(module.training is training for module, training in self.modes):
            return  # asking is cheaper than setting, which is a step's commonest case
        self.model.train()
        for module in stage.modules:
            module.eval()

    @functools.cached_property
    def depths(self) -> dict[str, int]:
        """{parameter name: number of its layer}, 0 at the input."""
        return depths(self.model)


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
        if spec.val.fold is not None:
            train, val, held_out = fold(whole, *spec.val.fold, spec.val.stratify, recipe.seed)
        else:
            train, val, held_out = hold_out(whole, spec.val.hold_out, spec.val.stratify, recipe.seed)
    elif spec.val is not None:
        val = read_source(spec.val, labels)
    test = read_source(spec.test, labels) if spec.test is not None else None
    for name, source, asked in (("val", val, spec.val), ("test", test, spec.test)):
        if source is not None and not isinstance(asked, HoldOut):
            fingerprints[name], manifests[name] = source.fingerprint(), source.manifest()
    facts = {"fingerprints": fingerprints, "manifests": manifests, "held_out": held_out}
    if labels:
        facts["classes"] = class_counts(train)
    return Splits(train, val, test, facts)


def read_source(spec: Any, labels: list[str] | None = None) -> Any:
    """The raw source of a `{path, format, ...}` section; `source:<name>`, or a path in it, is fetched from the catalogue of sources first.

    Args:
        labels: of the training data, which its classes must be.
    """
    known_labels = {} if labels is None else {"labels": labels}
    if not spec.path.startswith(_CATALOGUE):
        return read(Path(spec.path), spec.format, **spec.arguments, **known_labels)
    name, _, inside = spec.path.removeprefix(_CATALOGUE).partition("/")
    known = sources.SOURCES[name].options if name in sources.SOURCES else ()
    path = sources.get(name, **{k: v for k, v in spec.arguments.items() if k in known})
    return read(path / inside, spec.format, **{k: v for k, v in spec.arguments.items() if k not in known}, **known_labels)


def check(recipe: Recipe) -> list[Fault]:
    """Faults in the open ends of a recipe that belong to data, models and tasks: names, and keyword arguments against signatures."""
    faults: list[Fault] = []
    document = recipe.document
    if recipe.task not in tasks.TASKS:
        faults.append(_unknown(recipe, "task", recipe.task, list(tasks.TASKS)))
    else:
        task = tasks.resolve(recipe.task)
        if recipe.loss is not None:
            known_losses = {n: keyword_only(f) for n, f in task.losses.items()}
            faults += named_faults(recipe, "loss", recipe.loss, known_losses) or tried_faults(recipe, "loss", recipe.loss, task.try_loss)
        faults += judging_faults(recipe, task) + idle_faults(recipe, task)
        if recipe.data.text.packing and not task.packs:
            hint = f"{recipe.task} has no conversations that could share a row"
            faults.append(Fault("data.text.packing", document.where("data.text.packing"), "false", "true", hint))
    faults += made.faults(recipe)
    try:
        builder = inspect.signature(models.resolve(recipe.model.name))
        ours = [n for n, p in builder.parameters.items() if p.default is p.empty]  # what has no default is told by the task
        faults += check_arguments(recipe.model.arguments, builder, "model", document, skip=ours)
        if recipe.model.adapter is not None:
            faults += named_faults(recipe, "model.adapter", recipe.model.adapter, dict.fromkeys(adapter.NAMES, adapter.signature()))
    except models.ModelError as error:
        faults.append(Fault("model.name", document.lines.get("model.name", ""), "the name of a model", recipe.model.name, str(error)))
    if recipe.data.sampling is not None:
        known = {name: keyword_only(kind) for name, kind in SAMPLINGS.items()}
        faults += named_faults(recipe, "data.sampling", recipe.data.sampling, known) or tried_faults(
            recipe, "data.sampling", recipe.data.sampling, lambda name, given: SAMPLINGS[name]([0, 1], 0, **given)
        )
    for split in ("train", "eval"):
        steps = getattr(recipe.data.transforms, split)
        for i, step in enumerate(() if isinstance(steps, str) else steps):
            faults += named_faults(
                recipe, f"data.transforms.{split}[{i}]", step, {n: transforms.signature(n) for n in transforms.TRANSFORMS}
            )
    return faults


def idle_faults(recipe: Recipe, task: type[Task]) -> list[Fault]:
    """Faults in keys of the data section that the task's kind of data makes no use of."""
    idle = []
    for name in ("transforms", "text"):
        given = getattr(recipe.data, name)
        if name != PIPELINES[task.kind].section:
            idle += [f"data.{name}.{key}" for key, value in given if value != type(given).model_fields[key].default]
    expected, hint = f"a key that {recipe.task} makes use of", "leave it out, or choose another task"
    return [Fault(key, recipe.document.where(key), expected, "one that would have no effect", hint) for key in idle]


def judging_faults(recipe: Recipe, task: type[Task]) -> list[Fault]:
    """Faults in the names of metrics and views of a recipe's evaluate section."""
    spec = recipe.evaluate
    known, in_words = task.known_metrics()
    asked = [(f"evaluate.metrics[{i}]", name) for i, name in enumerate(spec.metrics or ())]
    found = [_unknown(recipe, key, name, list(known), in_words) for key, name in asked if not task.knows(name)]
    if spec.best is not None and not (spec.best.metric.startswith("val/") and task.knows(spec.best.metric.removeprefix("val/"))):
        names = [f"val/{name}" for name in known]
        found.append(_unknown(recipe, "evaluate.best.metric", spec.best.metric, names, f"val/ and {in_words}"))
    return found + [_unknown(recipe, f"evaluate.tta[{i}]", v, list(task.views)) for i, v in enumerate(spec.tta) if v not in task.views]


def keyword_only(function: Callable[..., Any]) -> inspect.Signature:
    """The part of a signature that a recipe may fill."""
    full = inspect.signature(function)
    return full.replace(parameters=[p for p in full.parameters.values() if p.kind is p.KEYWORD_ONLY])


def named_faults(recipe: Recipe, key: str, section: Any, table: Mapping[str, inspect.Signature]) -> list[Fault]:
    """Faults of a `{name, **arguments}` section against a table of signatures."""
    if section.name not in table:
        return [_unknown(recipe, f"{key}.name", section.name, list(table))]
    return check_arguments(section.arguments, table[section.name], key, recipe.document)


def tried_faults(recipe: Recipe, key: str, section: Any, tried: Callable[[str, dict[str, Any]], Any]) -> list[Fault]:
    """A fault where the thing named refuses the values of its arguments: signatures know names, only the thing itself knows values."""
    try:
        tried(section.name, section.arguments)
    except (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError) as error:
        lines, said = recipe.document.lines, str(error)
        names = sorted(section.arguments, key=lambda name: name not in said)  # the one it speaks of first
        where = next((lines[k] for k in (*(f"{key}.{name}" for name in names), f"{key}.name", key) if k in lines), "")
        given = ", ".join(f"{name}: {value}" for name, value in section.arguments.items())
        return [Fault(key, where, f"arguments that {section.name} takes", given, said)]
    return []


def _unknown(recipe: Recipe, key: str, received: str, known: list[str], in_words: str = "") -> Fault:
    near = nearest(received, known)
    lines = recipe.document.lines
    where = lines.get(key) or lines.get(key.rpartition(".")[0], "")
    expected = in_words or (f"one of: {', '.join(known)}" if known else "nothing: this task has none")
    return Fault(key, where, expected, received, f'did you mean "{near}"?' if near else "")


def ask(recipe: Recipe, task: Task) -> None:
    """Tell a task what the recipe wants to know of it.

    Raises:
        RecipeError: metrics that this data does not have.
    """
    spec = recipe.evaluate
    best = (spec.best.metric if spec.best else task.best[0]).removeprefix("val/")  # always measured: it chooses the checkpoint
    wrong = task.ask(list(dict.fromkeys([*(spec.metrics or task.metrics), best])), spec.tta)
    if wrong:
        where = recipe.document.lines.get("evaluate.metrics") or recipe.document.lines.get("evaluate", "")
        raise RecipeError([Fault("evaluate", where, "metrics that this data has", text) for text in wrong])


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
    check_targets(recipe, task_type, splits.train)
    pipeline = (
        fit_pipeline(recipe, task_type, splits.train) if preprocessing is None else PIPELINES[task_type.kind].from_json(preprocessing)
    )
    labels = getattr(splits.train, "labels", None)
    told = {"class_counts": list(splits.facts.get("classes", {}).values()), "packing": recipe.data.text.packing}
    task = build_task(recipe, task_type, labels, {**pipeline.describe(), **told})
    ask(recipe, task)
    for text in task.notices():
        note(text)
    model, report = made.build(recipe, task, initial, note)
    if recipe.model.freeze and recipe.model.weights == "none":
        parts = ", ".join(recipe.model.freeze)
        note(f"WARNING: {parts} is frozen with random weights (model.weights=none) and never learns: give weights, or model.freeze=[]")
    made.check_packing(recipe, model)
    recipe = resolve(recipe, model, device, note)
    model = made.held(recipe, made.adapted(recipe, model, report))
    frozen = freeze(model, recipe.model.freeze)
    for module in task.frozen_modules(model):
        module.requires_grad_(False)
    device.precision = str(recipe.train.precision)
    model = device.place(model)
    facts = {**splits.facts, "teachers": {}}
    for key, named in task.taught_by().items():
        task.teachers[key], facts["teachers"][key] = open_teacher(recipe, key, named, task, pipeline, made.trained, device)
    train = pipeline.samples(splits.train, training=True)
    val, test = (pipeline.samples(s, training=False) if s is not None else None for s in (splits.val, splits.test))
    recipe = share_cores(recipe, train.resident, device, note)
    loader = make_loader(recipe, train, device, make_sampling(recipe, splits.train))
    plan = make_plan(recipe, task, loader.epoch)
    stages = make_stages(recipe, task, model, frozen, plan.steps_per_epoch)
    return Parts(
        recipe, task, model, device, pipeline, train, val, test,
        loader, make_loader(recipe, val, device) if val is not None else None, plan, stages,
        [(n, p) for n, p in model.named_parameters() if p.requires_grad or (n in frozen.parameters and n not in stages[-1].parameters)],
        compiled(task.loss, model) if recipe.train.compile else task.loss,
        {**facts, "samples": {name: len(s) for name, s in (("train", train), ("val", val), ("test", test)) if s is not None}}, note,
    )  # fmt: skip


def check_targets(recipe: Recipe, task_type: type[Task], source: Any) -> None:
    """Raise RecipeError where samples have another kind of classes than the task learns."""
    labels = getattr(source, "labels", None)
    found = "several" if getattr(source, "multi_label", False) else "heads" if isinstance(labels, dict) else "one"
    if task_type.targets and labels is not None and found != task_type.targets:
        fitting = next((name for name in tasks.TASKS if tasks.resolve(name).targets == found), "")
        where, hint = recipe.document.where("task"), f"write task: {fitting}" if fitting else ""
        raise RecipeError([Fault("task", where, f"a task that learns {TARGETS[found]}, as {source.path} has", recipe.task, hint)])


def build_task(recipe: Recipe, task_type: type[Task], labels: list[str] | None, data: dict[str, Any]) -> Task:
    """The task with the recipe's loss; what does not fit the classes is a fault of the recipe."""
    if recipe.loss is None:
        return task_type(None, labels, data)
    made: list[Task] = []
    faults = tried_faults(
        recipe, "loss", recipe.loss, lambda name, given: made.append(task_type({"name": name, **given}, labels, data))
    )
    if faults:
        raise RecipeError(faults)
    return made[0]


def make_stages(recipe: Recipe, task: Task, model: nn.Module, frozen: Frozen, steps_per_epoch: int) -> list[Stage]:
    """What is frozen at first, and after each of model.unfreeze; raises ModelError for what is not there or not frozen by then."""
    always = task.frozen_modules(model)
    later = sorted(recipe.model.unfreeze, key=lambda entry: in_steps(entry.at, steps_per_epoch))
    thawed = zip(later, thaw(model, recipe.model.freeze, [entry.modules for entry in later]), strict=True)
    whole = [(0, frozen), *((in_steps(entry.at, steps_per_epoch), part) for entry, part in thawed)]
    return [Stage(at, [model.get_submodule(name) for name in part.modules] + always, frozenset(part.parameters)) for at, part in whole]


def fit_pipeline(recipe: Recipe, task_type: type[Task], train: Any) -> Any:
    """The data pipeline of a task, with its `auto`s decided from the model's own preprocessing and the training split."""
    steps_of = {
        split: steps if isinstance(steps, str) else [{"name": s.name, **s.arguments} for s in steps]
        for split, steps in (("train", recipe.data.transforms.train), ("eval", recipe.data.transforms.eval))
    }
    defaults = {**models.defaults(weights.local(recipe.model.name)), **weights.preprocessing(recipe)}
    given = recipe.model.arguments
    if "in_chans" in given:
        defaults["channels"] = given["in_chans"]
    if "size" in given:
        defaults["size"] = given["size"]
    return PIPELINES[task_type.kind].fit(
        train,
        transforms={**steps_of, "mix": recipe.data.transforms.mix.model_dump() if recipe.data.transforms.mix else None},
        text=recipe.data.text.model_dump(),
        defaults=defaults,
        cache_limit=int(memory_available() * _CACHE_SHARE),
    )


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
    share = -(-train.batch_size // device.world)
    whole = "the whole batch" if device.world == 1 else f"the batch of {train.batch_size} shared out among {device.world} processes"
    decide("train.micro_batch_size", train.micro_batch_size == "auto", share, f"{whole}; halved if memory runs out")
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


def make_sampling(recipe: Recipe, source: Any) -> Sampling | None:
    """The sampling of the training split; raises RecipeError where its samples have no classes, or not what it needs."""
    asked = recipe.data.sampling
    if asked is None:
        return None
    targets = getattr(source, "targets", None)
    if targets is None or isinstance(source.labels, dict):
        where = recipe.document.where("data.sampling")
        received = f"{source.format} without them" if targets is None else "several heads"
        raise RecipeError([Fault("data.sampling", where, "training samples with classes", received)])
    if getattr(source, "multi_label", False):
        targets = [source.target(i) for i in range(len(source))]
    return SAMPLINGS[asked.name](targets, recipe.seed, **asked.arguments)


def make_loader(recipe: Recipe, samples: Samples, device: Device, sampling: Sampling | None = None) -> Loader:
    """The loader of a split for this process."""
    spec = recipe.data
    return Loader(
        samples, recipe.seed, rank=device.rank, world=device.world, workers=0 if spec.workers == "auto" else spec.workers,
        timeout=spec.worker_timeout, unreadable=spec.unreadable, max_unreadable=spec.max_unreadable, sampling=sampling,
    )  # fmt: skip


def find_device(recipe: Recipe) -> Device:
    """The device a recipe asks for, or the best one here."""
    try:
        return Device(choose_device(recipe.device).value)
    except ValueError as error:
        raise RecipeError(
            [Fault("device", recipe.document.lines.get("device", ""), "a device this machine has", recipe.device, str(error))]
        ) from error
