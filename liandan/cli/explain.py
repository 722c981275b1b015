"""liandan explain"""

from __future__ import annotations

from pathlib import Path

import typer

from liandan.cli.output import JSON, QUIET, error, result


def command(
    target: str = typer.Argument(help="A run directory, a run's name, or last."),
    inputs: list[str] = typer.Argument(help="Images, or folders of them."),
    label: str = typer.Option(None, "--class", help="The class to explain; each image's own prediction by default."),
    out: Path = typer.Option(None, "--out", help="Folder of the pictures; samples/explain/ of the run by default."),
    as_json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """Where a classifier looked (Grad-CAM): for each image a picture with the heat over it and the probabilities beside it."""
    from liandan import api

    rows = []
    for row in api.open_run(target).explain(inputs, label=label, out=out):
        rows.append(row)
        if as_json or quiet:
            continue
        sure = "" if row.get("confidence") is None else f" {row['confidence']:.1%}"
        told = f"cannot be read: {row['error']}" if "error" in row else f"{row['label']}{sure}  {row['picture']}"
        print(f"{row['input']}\t{told}", flush=True)
    if as_json:
        result(rows)
    if any("error" in row for row in rows):
        error(f"{sum('error' in row for row in rows)} could not be read")
        raise typer.Exit(1)
