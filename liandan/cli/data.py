"""liandan data check | list | get"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from liandan.cli.output import JSON, QUIET, error, result, say, table

if TYPE_CHECKING:
    from liandan.data.check import Report

app = typer.Typer(help="Data: check, list, get.", no_args_is_help=True, rich_markup_mode=None)


@app.command("check")
def check(
    path: str = typer.Argument(help="A folder of images or a text file."),
    format: str = typer.Option(None, "--format"),
    as_json: bool = JSON,
) -> None:
    """Read every file; list those that cannot be read, duplicates, empty classes. Exit code 1 when there is a fault."""
    from pathlib import Path

    from liandan.data.check import check as checked
    from liandan.data.readers import read

    report = checked(read(Path(path), format))
    if as_json:
        result(report.to_json())
    else:
        tell(report)
    if report.faults:
        if not as_json:
            error(f"{len(report.faults)} faults")
        raise typer.Exit(1)


def tell(report: Report) -> None:
    """A report for a person: what there is, then what is wrong."""
    print(f"{report.path}: {report.format}, {report.count} samples")
    for title, counts in (("classes", report.classes), ("sizes", report.sizes), ("kinds", report.modes), ("text", report.text)):
        if counts:
            shown = [f"{name} {number}" for name, number in list(counts.items())[:12]]
            print(f"  {title:8s} {'  '.join(shown)}{'  ...' if len(counts) > 12 else ''}")
    for row in report.unreadable:
        print(f"  cannot be read  {row['file']}: {row['reason']}")
    for group in report.conflicts or []:
        print(f"  the same image in several classes  {' = '.join(group)}")
    for note in report.notes:
        print(f"  note   {note}")
    for fault in report.faults:
        print(f"  fault  {fault}")
    if not report.faults:
        print("  no faults")


@app.command("list")
def list_(as_json: bool = JSON) -> None:
    """What can be fetched."""
    from liandan import sources

    rows = [
        {"name": e.name, "what": e.english, "内容": e.chinese, "license": e.license, "MB": round(e.size / 1e6, 1)}
        for e in sources.SOURCES.values()
    ]
    if as_json:
        result(rows)
    else:
        table(rows, list(rows[0]))


@app.command("get")
def get(
    name: str = typer.Argument(help="A name of `data list`."),
    destination: str = typer.Argument(None, help="Where to put it; the cache otherwise."),
    limit: int = typer.Option(None, "--limit", min=1, help="At most so many, for the sources that take a limit."),
    as_json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """Fetch data by any way that works, verify it, and prepare it in a form the readers know."""
    from liandan import sources

    said: set[str] = set()

    def progress(what: str, done: int, total: int | None) -> None:
        if what not in said and not quiet:
            said.add(what)
            say(what)

    path = sources.get(name, destination, progress=progress, **({} if limit is None else {"limit": limit}))
    if as_json:
        result({"path": str(path)})
    else:
        print(path)
