"""liandan compare"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from liandan.cli.output import JSON, QUIET, result, table

if TYPE_CHECKING:
    from liandan.runs.compare import Comparison


def command(
    targets: list[str] = typer.Argument(help="Two or more runs."),
    plot: str = typer.Option(None, "--plot", help="Draw their curves together into this PNG."),
    as_json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """What differs between runs, and their metrics side by side."""
    from liandan import api
    from liandan.cli.output import error

    if len(targets) < 2:
        error(f"compare: expected two or more runs, got {len(targets)}")
        raise typer.Exit(2)
    found = api.compare(*targets)
    if plot:
        from pathlib import Path

        from liandan.runs.compare import overlay

        overlay([api.open_run(t).layout for t in targets], Path(plot))
    if as_json:
        result(found.to_json())
    elif not quiet:
        tell(found)


def tell(found: Comparison) -> None:
    """What was measured, then what was asked differently, a column a run."""
    rows: list[dict[str, Any]] = [
        {"": title, **dict(zip(found.runs, values, strict=True))}
        for title, values in (
            ("status", found.status), ("steps", found.steps), ("seconds", found.seconds), ("parameters", found.parameters),
            ("best step", [best and best["step"] for best in found.best_of]),
            *((f"{name} at the best step", values) for name, values in found.best.items()),
        )
    ]  # fmt: skip
    table(rows, ["", *found.runs])
    for title, differences in (("recipe", found.recipe), ("environment", found.environment)):
        shown = {key: values for key, values in differences.items() if key not in ("command", "started", "cwd")}
        if shown:
            print(f"\n{title}: what differs")
            table([{"": key, **dict(zip(found.runs, map(short, values), strict=True))} for key, values in shown.items()], ["", *found.runs])


def short(value: Any) -> str:
    """A value in a cell."""
    text = "" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
