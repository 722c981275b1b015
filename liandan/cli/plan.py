"""liandan plan"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from liandan.cli.output import JSON, QUIET, result, say, table

if TYPE_CHECKING:
    from liandan.studies.experts import Accounting
    from liandan.studies.plan import Estimate

_MIB = 2**20
_KINDS = {
    "parameters": "weights and buffers",
    "gradients": "",
    "optimizer": "the optimizer's state",
    "average": "moving average of the weights",
    "batch": "samples, as loaded and as prepared",
    "activations": "kept by the forward pass for the backward pass",
    "temporaries": "made and let go by the backward pass",
}


def command(
    target: str = typer.Argument(help="A recipe file, a shipped recipe's name, plain data, or the config.json of a language model."),
    overrides: list[str] = typer.Argument(None, metavar="[KEY=VALUE]...", help="Recipe values, such as train.batch_size=128."),
    as_json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """What a run would cost: memory by kind, the largest batch, time, and what bf16, LoRA, smaller micro-batches would change."""
    from liandan.studies.experts import account, read_config

    config = read_config(Path(target))
    if config is not None:
        counted = account(config)
        result(counted.to_json()) if as_json else tell_parameters(counted)
        return
    from liandan import api
    from liandan.studies.plan import plan

    recipe, _ = api.recipe_of(target, overrides or [])
    if not quiet:
        say("counting, then making a few steps in a process of their own ...")
    found = plan(recipe)
    result(found.to_json()) if as_json else tell(found)


def tell(found: Estimate) -> None:
    """An estimate for a person."""
    recipe, step = found.recipe, found.step
    train = recipe.train
    print(
        f"{recipe.task}, {recipe.model.name} on {found.device}, {train.precision}: {found.steps:,} steps of {train.batch_size} samples "
        f"in micro-batches of {train.micro_batch_size}; {found.samples:,} samples to train on\n"
    )
    if found.experts is not None:
        print(f"{found.experts.total:,} parameters, {found.experts.active:,} of them active for a token\n")
    if step is not None and found.total is not None:
        print(f"{step.all:,} parameters, {step.learning:,} of them learn\n")
        kinds = [(kind, getattr(step, kind), said) for kind, said in _KINDS.items() if getattr(step, kind)]
        rows = [
            *([("process", found.base, "the interpreter and its libraries")] if found.base else []),
            *([("kept samples", found.kept, "decoded once, when all are there")] if found.kept else []),
            *kinds,
            ("overhead", found.overhead.of(step.peak), "kernels, their scratch, memory that the allocator keeps"),
            ("peak", found.total, "predicted"),
        ]
        table([{"": name, "MiB": mib(size), "what": said} for name, size, said in rows], ["", "MiB", "what"])
    if found.measured is not None:
        print(f"\nmeasured in a few steps: {mib(found.measured.before + found.measured.growth)} MiB")
        seconds = found.measured.seconds_per_step
        print(f"time: about {(found.seconds or 0) / 60:,.1f} minutes, {seconds * 1000:,.0f} ms a step, evaluations aside")
    if found.reason:
        print(f"\n{found.reason}")
    if found.rooms:
        print("\nlargest micro-batch that fits")
        rooms = [
            {"device": r.device, "free MiB": mib(r.memory), "samples": "not one" if r.largest is None else whole_number(r, found)}
            for r in found.rooms
        ]
        table(rows=rooms, columns=["device", "free MiB", "samples"])
    if found.variants and found.total is not None:
        print("\nwhat would change the peak")
        table([changed(v, found.total) for v in found.variants], ["", "peak MiB", "change", "how"])


def whole_number(room: Any, found: Estimate) -> str:
    """The largest micro-batch, or that all of the training data fits."""
    return f"{room.largest:,}{' (all there are)' if room.largest == found.samples else ''}"


def changed(variant: Any, total: int) -> dict[str, str]:
    """A row of what one change makes of the peak."""
    if variant.total is None:
        return {"": variant.name, "how": f"not offered: {variant.reason}"}
    return {"": variant.name, "peak MiB": mib(variant.total), "change": f"{variant.total / total - 1:+.0%}", "how": variant.key}


def tell_parameters(found: Accounting) -> None:
    """A language model's parameters for a person, and what they take."""
    parts = {name: value for name, value in found.to_json().items() if name in _PARTS and value}
    table([{"": name, "parameters": f"{value:,}", "what": _PARTS[name]} for name, value in parts.items()], ["", "parameters", "what"])
    print(f"\n{found.total:,} parameters ({found.total / 1e9:.2f} B)")
    print(f"{found.active:,} of them ({found.active / 1e9:.2f} B) active for a token")
    print(f"\n{'weights':34s} {'GiB':>9s}")
    for name, size in (("fp32", 4.0), ("bf16", 2.0), ("int8", 1.0), ("4 bit, with a scale for every 32", 4.5 / 8)):
        print(f"{name:34s} {found.total * size / 2**30:9.2f}")
    print(f"{'all of it trained: AdamW in fp32':34s} {found.total * 16 / 2**30:9.2f}  weights, gradients, two moments; no activations")
    print(f"\nkeys and values: {found.cache_numbers * 2 / 1024:,.0f} KiB for each token of a context (bf16)")


_PARTS = {
    "embedding": "counted whole, although a token reads one row",
    "attention": "",
    "mlp": "of the layers without experts",
    "router": "one for each layer",
    "experts": "all of them: they are in memory, chosen or not",
    "norms": "",
    "head": "",
    "expert": "one expert of one layer (in `experts` already)",
    "chosen": "experts a token goes through, over all layers",
}


def mib(size: int) -> str:
    """Bytes in MiB, with a digit where there are few."""
    return f"{size / _MIB:,.1f}" if size < 100 * _MIB else f"{size / _MIB:,.0f}"
