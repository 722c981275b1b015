"""liandan train"""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import typer

from liandan.cli import config_flags
from liandan.cli.output import JSON, QUIET, error, result, say

if TYPE_CHECKING:
    from liandan.recipe import Recipe


def command(
    target: str = typer.Argument(help="A recipe file, a shipped recipe's name, a Python config, or plain data such as photos/."),
    overrides: list[str] = typer.Argument(None, metavar="[KEY=VALUE]...", help="Recipe values, such as train.duration.epochs=3."),
    resume: bool = typer.Option(False, "--resume", help="Go on with run.dir, or with the newest unfinished run of that name."),
    processes: int = typer.Option(1, "--processes", min=1, help="Processes on this machine."),
    folds: int = typer.Option(None, "--folds", min=2, help="Cross-validation: so many runs, each judged on another part of the data."),
    allow_data_change: bool = typer.Option(False, "--allow-data-change", help="Resume although the data is not what it was."),
    as_json: bool = JSON,
    quiet: bool = QUIET,
    resume_from: str = config_flags.RESUME_FROM,
    seed: int = config_flags.SEED,
    device: str = config_flags.DEVICE,
    gpu_id: int = config_flags.GPU_ID,
    split_validation: bool = config_flags.SPLIT_VALIDATION,
    ratio: float = config_flags.RATIO,
    deterministic: bool = config_flags.DETERMINISTIC,
    local_rank: int = config_flags.LOCAL_RANK,
) -> None:
    """Train by a recipe, or on plain data: the task is detected and the recipe it makes is printed."""
    meant = config_flags.meaning(target, resume_from, seed, device, gpu_id, split_validation, ratio, deterministic, local_rank)
    if is_main():
        for flag, stands_for in meant.said:
            say(f"{flag}: {stands_for}")
    overrides, resume = [*meant.overrides, *(overrides or [])], resume or meant.resume
    from liandan.runtime.device import launch, launched

    if folds is not None and (processes > 1 or launched()):
        error("train: --folds makes its runs one after another in one process; leave --processes out")
        raise typer.Exit(2)
    if processes > 1 and not launched():
        raise typer.Exit(launch(processes, sys.argv[1:]))
    from liandan import api
    from liandan.cli.progress import Progress
    from liandan.engine import probe, session
    from liandan.recipe import in_short
    from liandan.recipe.scalars import write

    recipe, made = api.recipe_of(target, overrides or [])
    tell = say if made and not quiet and is_main() else lambda text: None
    tell(f"# the recipe made for {target}; every other key has its default\n{in_short(recipe)}")
    if folds is not None:
        raise typer.Exit(cross_validate(recipe, folds, [target, *(overrides or [])], resume, allow_data_change, as_json, quiet))
    if made and not quiet and not resume:
        tell(str(probe.probe(recipe)))  # all processes make it, one tells
    with Progress(quiet) as progress:
        outcome = session.start(recipe, resume=resume, allow_data_change=allow_data_change, watch=progress)
    if not is_main():
        raise typer.Exit(outcome.exit_code)
    if as_json:
        result(
            {
                "run": str(outcome.layout.root),
                "reason": outcome.reason,
                "step": outcome.step,
                "best_step": outcome.best_step,
                "metrics": outcome.metrics,
            }
        )
    if outcome.exit_code:
        again = [a for a in (overrides or []) if not a.startswith("run.dir=")]
        words = ["liandan", "train", target, *again, f"run.dir={write(str(outcome.layout.root))}", "--resume"]
        words += ["--processes", str(processes)] if processes > 1 else []
        say(f"stopped at step {outcome.step}, the checkpoint is complete; to go on:\n{shlex.join(words)}")
        raise typer.Exit(outcome.exit_code)
    if not as_json and not quiet:
        for name, value in outcome.metrics.items():
            print(f"{name:24s} {value:.5g}")
        print(f"{outcome.reason} at step {outcome.step}, best at step {outcome.best_step}: {outcome.layout.root}")
        for split in dict.fromkeys(name.partition("/")[0] for name in outcome.metrics):
            print(f"report: {outcome.layout.evaluation(split) / 'report.html'}")
        run = "last" if recipe.run.dir is None else shlex.quote(str(outcome.layout.root))
        print(f"next:\n  liandan evaluate {run}\n  liandan predict {run} <files or text>\n  liandan runs show {run}")


def cross_validate(
    recipe: Recipe, folds: int, words: list[str], resume: bool, allow_data_change: bool, as_json: bool, quiet: bool
) -> int:
    """One run a fold; returns the exit code."""
    from liandan.cli.progress import Progress
    from liandan.recipe.scalars import write
    from liandan.studies import folds as study

    with Progress(quiet) as progress:
        found = study.start(recipe, folds, resume=resume, allow_data_change=allow_data_change, watch=progress)
    if as_json:
        result({"root": str(found.root), "folds": found.rows, "table": found.table})
    if found.exit_code:
        again = [word for word in words if not word.startswith("run.dir=")]
        command = ["liandan", "train", *again, f"run.dir={write(str(found.root))}", "--folds", str(folds), "--resume"]
        say(f"stopped after {len(found.rows)} of {folds} folds; to go on:\n{shlex.join(command)}")
    elif not as_json and not quiet:
        for row in found.table:
            print(f"{row['metric']:24s} {row['mean']:.5g} ± {row['std']:.2g}")
        print(f"{folds} folds: {found.root}/report.html")
    return found.exit_code


def is_main() -> bool:
    """Whether this is the process that prints."""
    import os

    return os.environ.get("RANK", "0") == "0"
