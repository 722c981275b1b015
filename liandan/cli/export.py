"""liandan export"""

from __future__ import annotations

import typer

from liandan.cli.output import JSON, result, table


def command(
    target: str = typer.Argument(help="A run directory, a run's name, or last."),
    to: str = typer.Option(..., "--to", help="The format: hf (a folder that transformers loads)."),
    out: str = typer.Option(None, "--out", help="The folder to write; export/<format>/ of the run by default."),
    as_json: bool = JSON,
) -> None:
    """Write a run in a format that other programs read, and prove that it is the same model."""
    from liandan import api

    found = api.open_run(target).export(to, out)
    if as_json:
        result(found)
    else:
        table([found], list(found))
