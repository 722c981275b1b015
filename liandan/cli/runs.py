"""liandan runs list | show | pack"""

from __future__ import annotations

import typer

from liandan.cli.output import JSON, number, result, table

app = typer.Typer(help="Runs that are here: list, show, pack.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(root: str = typer.Option("runs", "--root", help="Folder of runs."), as_json: bool = JSON) -> None:
    """Every run, the newest first."""
    from liandan.runs.listing import list_runs

    found = list_runs(root)
    if as_json:
        result(found)
        return
    for row in found:
        best = row["best"]
        row["best"] = f"{best['metric']} {number(best['value'])} at step {best['step']}" if best else ""
        row["status"] = row["status"] if row["status"] == "finished" or not row["reason"] else f"{row['status']}: {row['reason']}"[:60]
    table(found, ["path", "task", "status", "step", "best", "started"])


@app.command("show")
def show(target: str = typer.Argument("last", help="A run directory, a run's name, or last."), as_json: bool = JSON) -> None:
    """One run: what it is, where it stands, what it measured."""
    from liandan import api
    from liandan.runs.listing import show as shown

    found = shown(api.open_run(target).layout)
    if as_json:
        result(found)
        return
    plain = {key: value for key, value in found.items() if not isinstance(value, dict | list)}
    for key, value in {**plain, **found["metrics"]}.items():
        print(f"{key:20s} {number(value)}")
    if found["best"]:
        print(f"{'best':20s} {found['best']['metric']} {number(found['best']['value'])} at step {found['best']['step']}")
    for row in found["checkpoints"]:
        print(f"{'checkpoint':20s} step {row['step']}, {row['bytes'] / 1e6:,.1f} MB, {row['fault'] or 'whole'}")
    print(f"{'recipe':20s} {found['path']}/resolved.yaml")


@app.command("pack")
def pack(target: str = typer.Argument("last", help="A run directory, a run's name, or last."), as_json: bool = JSON) -> None:
    """Bring what the run only names, a large frozen base, into its directory, which then can be moved by itself."""
    from liandan.runs.layout import find
    from liandan.runtime.base import pack as packed

    layout = find(target)
    copied = packed(layout)
    if as_json:
        result({"run": str(layout.root), "bytes": copied})
    else:
        print(f"{layout.root}: {copied / 1e9:,.1f} GB brought in" if copied else f"{layout.root}: nothing was missing")
