"""liandan runs list | show"""

from __future__ import annotations

import typer

from liandan.cli.output import JSON, number, result, table

app = typer.Typer(help="Runs that are here: list, show.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(root: str = typer.Option("runs", "--root", help="Folder of runs."), as_json: bool = JSON) -> None:
    """Every run, the newest first."""
    from liandan.runs.listing import list_runs

    found = list_runs(root)
    if as_json:
        result(found)
    else:
        table(found, list(found[0]) if found else ["path"])


@app.command("show")
def show(target: str = typer.Argument("last", help="A run directory, a run's name, or last."), as_json: bool = JSON) -> None:
    """One run: what it is, where it stands, what it measured."""
    from liandan import api
    from liandan.runs.listing import show as shown

    found = shown(api.open_run(target).layout)
    if as_json:
        result(found)
        return
    for key, value in found.items():
        print(f"{key:14s} {'  '.join(f'{k} {number(v)}' for k, v in value.items()) if isinstance(value, dict) else number(value)}")
