"""liandan data check | list | get"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import typer

from liandan.cli.output import JSON, QUIET, chinese, error, result, say, table

if TYPE_CHECKING:
    from liandan.data.check import Report

PLACE = "Where to put it, the cache otherwise; and options of the source, such as limit=2000."
_OPTION = re.compile(r"[a-z_]+=")

app = typer.Typer(help="Data: check, list, get.", no_args_is_help=True, rich_markup_mode=None)


@app.command("check")
def check(
    path: str = typer.Argument(help="A folder of images, a text file, or a file of labeled texts."),
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
    catalogue("data", as_json)


@app.command("get")
def get(
    name: str = typer.Argument(help="A name of `data list`, or of `model list --weights`."),
    words: list[str] = typer.Argument(None, metavar="[FOLDER] [KEY=VALUE]...", help=PLACE),
    as_json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """Fetch data by any way that works, verify it, and prepare it in a form the readers know."""
    fetch(name, words or [], as_json, quiet)


def catalogue(kind: str, as_json: bool) -> None:
    """The entries of one kind: what each is, in the person's language; as JSON in both."""
    from liandan import sources

    entries = [entry for entry in sources.SOURCES.values() if entry.kind == kind]
    if as_json:
        result(
            [
                {
                    "name": entry.name,
                    "english": entry.english,
                    "chinese": entry.chinese,
                    "license": entry.license,
                    "bytes": entry.size,
                    "options": list(entry.options),
                    "ways": [way.describe() for way in entry.ways],
                }
                for entry in entries
            ]
        )
        return
    titles = ("名称", "MB", "选项", "许可", "内容") if chinese() else ("name", "MB", "options", "license", "what")
    cells = (
        (entry.name, f"{entry.size / 1e6:.1f}", " ".join(entry.options), entry.license, entry.chinese if chinese() else entry.english)
        for entry in entries
    )
    table([dict(zip(titles, row, strict=True)) for row in cells], list(titles))


def fetch(name: str, words: list[str], as_json: bool, quiet: bool) -> None:
    """Bring an entry of the catalogue and print where it is."""
    from liandan import sources
    from liandan.recipe.scalars import resolve

    options: dict[str, Any] = {word.partition("=")[0]: resolve(word.partition("=")[2]) for word in words if _OPTION.match(word)}
    folders = [word for word in words if not _OPTION.match(word)]
    if len(folders) > 1:
        raise typer.BadParameter(f"expected one folder, got {' and '.join(folders)}")
    said: set[str] = set()

    def progress(what: str, done: int, total: int | None) -> None:
        if what not in said and not quiet:
            said.add(what)
            say(what if total is None else f"{what}  ({total / 1e6:.1f} MB)")

    path = sources.get(name, *folders, progress=progress, **options)
    if as_json:
        result({"path": str(path)})
    else:
        print(path)
