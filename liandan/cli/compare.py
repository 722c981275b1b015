"""liandan compare"""

from __future__ import annotations

import typer

from liandan.cli.output import JSON, QUIET, result


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
        print(found)
