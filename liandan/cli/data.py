"""liandan data check | stats | split | show | list | get"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import typer

from liandan.cli.output import JSON, QUIET, error, result, say, table
from liandan.doctor.show import language

if TYPE_CHECKING:
    from liandan.data.check import Report
    from liandan.data.stats import Statistics
    from liandan.recipe import Recipe

PLACE = "Where to put it, the cache otherwise; and options of the source, such as limit=2000."
_OPTION = re.compile(r"[a-z_]+=")


app = typer.Typer(help="Data: check, stats, split, show, list, get.", no_args_is_help=True, rich_markup_mode=None)
_TARGET = typer.Argument(help="A folder of images, a list, a table, a text file or a file of rows; or a recipe, for all of its splits.")
_OVERRIDES = typer.Argument(None, metavar="[KEY=VALUE]...", help="Keys of a recipe, such as data.train.classes=classes.txt")


def _recipe(target: str, overrides: list[str] | None, val: dict[str, Any] | None = None) -> Recipe:
    """The recipe at `target`, or one that has plain data as its training data and nothing else to say."""
    from pathlib import Path

    from liandan import api
    from liandan.recipe import make_recipe

    if target.startswith("source:") or (Path(target).exists() and Path(target).suffix not in (".yaml", ".yml", ".py")):
        return make_recipe({"task": "data", "model": {"name": "none"}, "data": {"train": target, "val": val}}, overrides or [])
    return api.recipe_of(target, overrides or [])[0]


def _splits(recipe: Recipe) -> dict[str, Any]:
    from liandan.runtime.assemble import read_splits

    read = read_splits(recipe)
    return {name: source for name, source in (("train", read.train), ("val", read.val), ("test", read.test)) if source is not None}


@app.command("check")
def check(
    target: str = _TARGET,
    overrides: list[str] = _OVERRIDES,
    format: str = typer.Option(None, "--format", help="Name of the reader; found out from the files otherwise."),
    as_json: bool = JSON,
) -> None:
    """Read every file; list those that cannot be read, copies, copies across splits, empty classes. Exit code 1 when there is a fault."""
    from liandan.data.check import check_splits

    given = [*(overrides or []), *([f"data.train.format={format}"] if format else [])]
    reports = check_splits(_splits(_recipe(target, given)))
    if as_json:
        several = {name: report.to_json() for name, report in reports.items()}
        result(several if len(several) > 1 else several["train"])
    else:
        for name, report in reports.items():
            tell(report, name if len(reports) > 1 else "")
    faults = sum(len(report.faults) for report in reports.values())
    if faults:
        if not as_json:
            error(f"{faults} faults")
        raise typer.Exit(1)


def tell(report: Report, split: str = "") -> None:
    """A report for a person: what there is, then what is wrong."""
    print(f"{split + ': ' if split else ''}{report.path}: {report.format}, {report.count} samples")
    for title, counts in (("classes", report.classes), ("sizes", report.sizes), ("kinds", report.modes), ("text", report.text)):
        if counts:
            shown = [f"{name} {number}" for name, number in list(counts.items())[:12]]
            print(f"  {title:8s} {'  '.join(shown)}{'  ...' if len(counts) > 12 else ''}")
    for row in report.unreadable:
        print(f"  cannot be read  {row['file']}: {row['reason']}")
    for group in report.conflicts:
        print(f"  the same in several classes  {' = '.join(group)}")
    for row in report.leaks:
        print(f"  also in {row['split']}, {row['how']}  {row['name']} = {row['other']}")
    for note in report.notes:
        print(f"  note   {note}")
    for fault in report.faults:
        print(f"  fault  {fault}")
    if not report.faults:
        print("  no faults")


@app.command("stats")
def stats(
    target: str = _TARGET,
    overrides: list[str] = _OVERRIDES,
    plot: str = typer.Option(None, "--plot", help="Draw the classes as bars into this PNG."),
    as_json: bool = JSON,
) -> None:
    """Classes and how even they are, sizes, kinds of files, of each split."""
    from pathlib import Path

    from liandan.data.stats import statistics

    found = {name: statistics(source) for name, source in _splits(_recipe(target, overrides)).items()}
    if plot:
        from liandan.runs.plots import figure

        labels = list(found["train"].classes)
        values = {name: [one.classes[label] for label in labels] for name, one in found.items()}
        title = f"{found['train'].path}: {found['train'].count:,}"
        figure({"kind": "bars", "labels": labels, "values": values, "title": title, "x": "samples"}, Path(plot))
    if as_json:
        several = {name: one.to_json() for name, one in found.items()}
        result(several if len(several) > 1 else several["train"])
    else:
        tell_stats(found)


def tell_stats(found: dict[str, Statistics]) -> None:
    """A row for each class, then what the files are."""
    train = found["train"]
    if train.classes:
        columns = {name: one.classes for name, one in found.items()}
        shares = {label: f"{n / max(train.count, 1):.1%}" for label, n in train.classes.items()}
        table([{"class": label, **{c: columns[c][label] for c in columns}, "of train": shares[label]} for label in train.classes],
              ["class", *columns, "of train"])  # fmt: skip
    for name, one in found.items():
        print(f"{name}: {one.path}, {one.format}, {one.count:,} samples, {one.bytes:,} bytes")
        if one.balance:
            even = f"as even as {one.balance['effective']:.1f} equal ones"
            print(f"  classes  {one.balance['smallest']} to {one.balance['largest']} samples, {even}")
            print(f"           always guessing the largest is right in {one.balance['majority']:.1%}")
        for title, span in (("width", one.width), ("height", one.height)):
            if span:
                print(f"  {title:7s}  {span[0]:g} to {span[2]:g}, median {span[1]:g}")
        if one.modes:
            print("  kinds    " + "  ".join(f"{mode} {n}" for mode, n in one.modes.items()))
        if one.unreadable:
            print(f"  {one.unreadable} files cannot be read: liandan data check {one.path}")


@app.command("split")
def split(
    target: str = _TARGET,
    overrides: list[str] = _OVERRIDES,
    out: str = typer.Option(None, "--out", help="Write the splits as lists into this folder; they are read back as data."),
    as_json: bool = JSON,
) -> None:
    """The split that a run would take: how many of each class, and which samples are held out."""
    from pathlib import Path

    splits = _splits(_recipe(target, overrides, {"hold_out": 0.2}))
    written = _write_lists(splits, Path(out)) if out else []
    if as_json:
        names = {name: [source.name(i) for i in range(len(source))] for name, source in splits.items()}
        result({"splits": names, "written": [str(path) for path in written]})
        return
    from liandan.data.stats import class_counts

    counts = {name: class_counts(source) for name, source in splits.items()}
    if counts["train"]:
        table([{"class": label, **{name: counts[name][label] for name in counts}} for label in counts["train"]], ["class", *counts])
    print("  ".join(f"{name} {len(source):,}" for name, source in splits.items()))
    for path in written:
        print(path)


def _write_lists(splits: dict[str, Any], folder: Any) -> list[Any]:
    """train.txt, val.txt ... and classes.txt, or train.csv ... where a list cannot hold the classes; refuses to replace a file."""
    from liandan.data.annotations import annotation_lines, class_lines
    from liandan.data.errors import DataError
    from liandan.data.table import table_lines
    from liandan.runs.store import write_bytes_atomic

    if any(getattr(source, "labels", None) is None for source in splits.values()):
        raise DataError("only images with classes can be written as lists; a run keeps its split in data.json")
    if splits["train"].targets.ndim == 1:
        texts = {f"{name}.txt": annotation_lines(source, folder) for name, source in splits.items()}
        texts["classes.txt"] = class_lines(splits["train"].labels)
    else:
        texts = {f"{name}.csv": table_lines(source, folder) for name, source in splits.items()}
    there = [name for name in texts if (folder / name).exists()]
    if there:
        raise DataError(f"{folder} holds {', '.join(there)} already; name another folder")
    for name, text in texts.items():
        write_bytes_atomic(folder / name, text.encode())
    return [folder / name for name in texts]


@app.command("show")
def show(
    target: str = _TARGET,
    overrides: list[str] = _OVERRIDES,
    out: str = typer.Option("samples.png", "--out", help="The picture to write."),
    count: int = typer.Option(25, "--count", min=1, max=400, help="How many samples."),
    as_json: bool = JSON,
) -> None:
    """Draw the first training samples of a run as its model will see them: augmented, in their order, colors undone from normalization."""
    from pathlib import Path

    from liandan import api
    from liandan.engine import session
    from liandan.runs.mosaic import mosaic
    from liandan.runtime.preview import first_samples

    recipe, _ = api.recipe_of(target, overrides or [])
    session.check(recipe)
    images, captions = first_samples(recipe, count)
    path = mosaic(images, captions, Path(out))
    if as_json:
        result({"path": str(path), "captions": captions})
    else:
        print(path)


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
    chinese = language() == "zh"
    titles = ("名称", "MB", "选项", "许可", "内容") if chinese else ("name", "MB", "options", "license", "what")
    cells = (
        (entry.name, f"{entry.size / 1e6:.1f}", " ".join(entry.options), entry.license, entry.chinese if chinese else entry.english)
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
