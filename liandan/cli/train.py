"""liandan train"""

from __future__ import annotations

import shlex
import sys

import typer

from liandan.cli import config_flags
from liandan.cli.output import JSON, QUIET, result, say


def command(
    target: str = typer.Argument(help="A recipe file, a shipped recipe's name, a Python config, or plain data such as photos/."),
    overrides: list[str] = typer.Argument(None, metavar="[KEY=VALUE]...", help="Recipe values, such as train.duration.epochs=3."),
    resume: bool = typer.Option(False, "--resume", help="Go on with run.dir, or with the newest unfinished run of that name."),
    processes: int = typer.Option(1, "--processes", min=1, help="Processes on this machine."),
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

    if processes > 1 and not launched():
        raise typer.Exit(launch(processes, sys.argv[1:]))
    from liandan import api
    from liandan.cli.progress import Progress
    from liandan.engine import probe, session
    from liandan.recipe import to_yaml
    from liandan.recipe.scalars import write

    recipe, made = api.recipe_of(target, overrides or [])
    tell = say if made and not quiet and is_main() else lambda text: None
    tell(f"# the recipe made for {target}\n{to_yaml(recipe)}")
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
        print("next:")
        print("  liandan evaluate last\n  liandan predict last <files or text>\n  liandan runs show last")


def is_main() -> bool:
    """Whether this is the process that prints."""
    import os

    return os.environ.get("RANK", "0") == "0"
