"""liandan predict"""

from __future__ import annotations

import typer

from liandan.cli.output import JSON, QUIET, result


def command(
    target: str = typer.Argument(help="A run directory, a run's name, or last."),
    inputs: list[str] = typer.Argument(help="Images, folders of images, or prompts."),
    as_json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """Predict: classes for images, a continuation for a prompt. A file that cannot be read is told and stops nothing."""
    from liandan import api

    found = list(api.open_run(target).predict(inputs))
    if as_json:
        result(found)
    elif not quiet:
        for row in found:
            print(line(row))
    if found and all("error" in row for row in found):
        raise typer.Exit(1)


def line(row: dict) -> str:
    """One prediction for a person."""
    if "error" in row:
        return f"{row['input']}\tcannot be read: {row['error']}"
    if "label" in row:
        return f"{row['input']}\t" + "  ".join(f"{x['label']} {x['confidence']:.1%}" for x in row["top"][:3])
    if "text" in row:
        return row["text"]
    return f"{row['input']}\t" + "  ".join(f"{k} {str(v)[:60]}" for k, v in row.items() if k != "input")
