"""liandan data check | stats | split | show | dedup | list | get"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

import typer

from liandan.cli.output import JSON, QUIET, error, result, say, table
from liandan.doctor.show import language

if TYPE_CHECKING:
    from liandan.data.check import Report
    from liandan.data.dedup import Copies
    from liandan.data.stats import Statistics
    from liandan.recipe import Recipe

PLACE = "Where to put it, the cache otherwise; and options of the source, such as limit=2000."
_OPTION = re.compile(r"[a-z_]+=")
_LISTED = 20  # bad rows told; --json lists them all
_BAR = 40  # characters of the longest bar


app = typer.Typer(help="Data: check, stats, split, show, dedup, list, get.", no_args_is_help=True, rich_markup_mode=None)
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


def _pipeline(recipe: Recipe, overrides: list[str], train: Any) -> Any:
    """What makes tokens of rows of text in a run of this data; None of other data, and where no task knows it.

    Of plain data the recipe is the one that `train` would make.
    """
    from liandan import api, tasks
    from liandan.recipe import RecipeError
    from liandan.runtime.assemble import fit_pipeline

    if train.format not in ("conversations", "labeled_text"):
        return None
    if recipe.task not in tasks.TASKS:
        try:
            recipe, _ = api.recipe_of(train.path, overrides)
        except RecipeError:
            return None
    return fit_pipeline(recipe, tasks.resolve(recipe.task), train)


@app.command("check")
def check(
    target: str = _TARGET,
    overrides: list[str] = _OVERRIDES,
    format: str = typer.Option(None, "--format", help="Name of the reader; found out from the files otherwise."),
    plot: str = typer.Option(None, "--plot", help="Draw the lengths of texts, in tokens, as bars into this PNG."),
    as_json: bool = JSON,
) -> None:
    """Read every file; list those that cannot be read, bad rows, copies, copies across splits, empty classes and answers, and what of a
    text is cut. Exit code 1 when there is a fault."""
    from liandan.data.check import check_rows, check_splits
    from liandan.data.rows import BadRows

    given = [*(overrides or []), *([f"data.train.format={format}"] if format else [])]
    try:
        recipe = _recipe(target, given)
        splits = _splits(recipe)
        reports = check_splits(splits, _pipeline(recipe, given, splits["train"]))
    except BadRows as bad:
        reports = {"train": check_rows(bad)}
    if plot:
        draw_lengths(reports, plot)
    if as_json:
        several = {name: report.to_json() for name, report in reports.items()}
        result(several if len(several) > 1 else several["train"])
    else:
        for name, report in reports.items():
            tell(report, name if len(reports) > 1 else "")
    faults = sum(len(report.faults) for report in reports.values())
    if faults:
        if not as_json:
            error(f"{faults} fault{'s' if faults > 1 else ''}")
        raise typer.Exit(1)


def draw_lengths(reports: dict[str, Report], path: str) -> None:
    """The histogram of each split's lengths in tokens."""
    from pathlib import Path

    from liandan.data.errors import DataError
    from liandan.runs.plots import figure

    found = {name: report.tokens["histogram"] for name, report in reports.items() if report.tokens}
    if not found:
        raise DataError("--plot draws the lengths of rows of text; of images `liandan data stats --plot` draws the classes")
    bins = sorted({label for bars in found.values() for label in bars}, key=lambda label: int(label.partition("-")[2]))
    values = {name: [bars.get(label, 0) for label in bins] for name, bars in found.items()}
    title = f"{reports['train'].path}: tokens of a sample"
    figure({"kind": "bars", "labels": bins, "values": values, "title": title, "x": "samples", "y": "tokens"}, Path(path))


def tell(report: Report, split: str = "") -> None:
    """A report for a person: what there is, then what is wrong."""
    print(f"{split + ': ' if split else ''}{report.path}: {report.format}, {report.count} samples")
    for title, counts in (("classes", report.classes), ("sizes", report.sizes), ("kinds", report.modes), ("text", report.text)):
        if counts:
            shown = [f"{name} {number}" for name, number in list(counts.items())[:12]]
            print(f"  {title:8s} {'  '.join(shown)}{'  ...' if len(counts) > 12 else ''}")
    if report.tokens:
        tell_tokens(report.tokens)
    for row in report.bad_rows[:_LISTED]:
        print(f"  {row['file']}:{row['line']}: {row['reason']}")
    if len(report.bad_rows) > _LISTED:
        print(f"  and {len(report.bad_rows) - _LISTED} more; --json lists them all")
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


def tell_tokens(tokens: dict[str, Any]) -> None:
    """Lengths in tokens, as numbers and as bars."""
    figures = "  ".join(f"{name} {tokens[name]}" for name in ("shortest", "median", "95%", "longest"))
    print(f"  tokens   {figures}  in all {tokens['total']:,}; the context holds {tokens['context']}")
    most = max(tokens["histogram"].values())
    for label, count in tokens["histogram"].items():
        print(f"  {label:>13s} {'▇' * round(_BAR * count / most):{_BAR}s} {count}")


@app.command("stats")
def stats(
    target: str = _TARGET,
    overrides: list[str] = _OVERRIDES,
    plot: str = typer.Option(None, "--plot", help="Draw the classes as bars into this PNG."),
    as_json: bool = JSON,
) -> None:
    """Classes and how even they are, sizes, kinds of files, of each split."""
    from pathlib import Path

    from liandan.data.errors import DataError
    from liandan.data.stats import statistics

    found = {name: statistics(source) for name, source in _splits(_recipe(target, overrides)).items()}
    if plot:
        from liandan.runs.plots import figure

        labels = list(found["train"].classes)
        if not labels:
            raise DataError(f"--plot draws classes, and {target} has none; `liandan data check --plot` draws the lengths of texts")
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
        for title, counts in one.text.items():
            print(f"  {title}: " + "  ".join(f"{key} {number:,}" for key, number in counts.items()))
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
    """train.txt, val.txt ... and classes.txt, or train.csv ... where a list cannot hold the classes; texts in their own format. Refuses to
    replace a file."""
    from liandan.data.annotations import annotation_lines, class_lines
    from liandan.data.errors import DataError
    from liandan.data.table import table_lines
    from liandan.runs.store import write_bytes_atomic

    if splits["train"].format in ("text", "labeled_text", "conversations"):
        return _write_texts(splits, folder)
    if any(getattr(source, "labels", None) is None for source in splits.values()):
        raise DataError("only texts, and images with classes, can be written; a run keeps its split in data.json")
    if splits["train"].targets.ndim == 1:
        texts = {f"{name}.txt": annotation_lines(source, folder) for name, source in splits.items()}
        texts["classes.txt"] = class_lines(splits["train"].labels)
    else:
        texts = {f"{name}.csv": table_lines(source, folder) for name, source in splits.items()}
    refuse_to_replace([folder / name for name in texts])
    for name, text in texts.items():
        write_bytes_atomic(folder / name, text.encode())
    return [folder / name for name in texts]


def _write_texts(splits: dict[str, Any], folder: Any) -> list[Any]:
    """train.jsonl, val.jsonl ..., in the format of the data."""
    from liandan.data.dedup import suffix, write_texts

    paths = {name: folder / f"{name}{suffix(source)}" for name, source in splits.items()}
    refuse_to_replace(list(paths.values()))
    for name, path in paths.items():
        write_texts(splits[name], path)
    return list(paths.values())


def refuse_to_replace(paths: list[Any]) -> None:
    """Raise DataError where one of the files is there already."""
    from liandan.data.errors import DataError

    there = [path.name for path in paths if path.exists()]
    if there:
        raise DataError(f"{paths[0].parent} holds {', '.join(there)} already; name another folder")


@app.command("show")
def show(
    target: str = _TARGET,
    overrides: list[str] = _OVERRIDES,
    out: str = typer.Option(None, "--out", help="The file to write: of images a picture (samples.png), of texts a page (.html)."),
    count: int = typer.Option(None, "--count", min=1, max=400, help="How many samples; 25 images, 3 texts otherwise."),
    as_json: bool = JSON,
) -> None:
    """The first training samples of a run as its model will see them: images augmented, in their order, colors undone from normalization;
    texts as they are read back from their tokens, what is learned in green (in ⟦ ⟧ where there are no colors)."""
    from pathlib import Path

    from liandan import api, tasks
    from liandan.engine import session
    from liandan.runs.mosaic import mosaic
    from liandan.runtime.preview import first_samples, first_texts

    recipe, _ = api.recipe_of(target, overrides or [])
    session.check(recipe)
    if tasks.resolve(recipe.task).kind != "images":
        show_texts(first_texts(recipe, count or 3), out, as_json)
        return
    images, captions = first_samples(recipe, count or 25)
    path = mosaic(images, captions, Path(out or "samples.png"))
    if as_json:
        result({"path": str(path), "captions": captions})
    else:
        print(path)


def show_texts(shown: list[Any], out: str | None, as_json: bool) -> None:
    """Texts with what is learned of them marked, on the terminal or as a page."""
    from pathlib import Path

    from liandan.runs.store import write_bytes_atomic
    from liandan.runtime.preview import page

    if out:
        write_bytes_atomic(Path(out), page(shown).encode())
    if as_json:
        result({"path": out, "samples": [one.to_json() for one in shown]})
    elif out:
        print(out)
    else:
        left, right = ("\033[32m", "\033[0m") if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else ("⟦", "⟧")
        for one in shown:
            print(f"{one.title}: {one.tokens} tokens, {one.learned} of them learned")
            print("".join(text if not weight else f"{left}{text}{right}{_times(weight)}" for text, weight in one.pieces) + "\n")


def _times(weight: float) -> str:
    return "" if weight == 1.0 else f"×{weight:g}"


@app.command("dedup")
def dedup(
    target: str = _TARGET,
    overrides: list[str] = _OVERRIDES,
    out: str = typer.Option(None, "--out", help="Write what is left of the training data into this file, and FILE.report.json."),
    threshold: float = typer.Option(0.8, "--threshold", min=0.01, max=1.0, help="Part of shared runs of three words that makes a copy."),
    exact: bool = typer.Option(False, "--exact", help="Only copies that are the same to the letter."),
    as_json: bool = JSON,
) -> None:
    """Texts that repeat an earlier one, to the letter or nearly, and those that give away the validation or test data."""
    from pathlib import Path

    from liandan.data.dedup import find_copies, suffix, write_texts
    from liandan.data.errors import DataError
    from liandan.runs.store import write_json_atomic

    splits = _splits(_recipe(target, overrides))
    train = splits.pop("train")
    path = Path(out) if out else None
    if path is not None:
        report = path.with_name(f"{path.name}.report.json")
        if path.suffix.lower() != suffix(train).lower():
            raise DataError(f"--out: expected a name that ends in {suffix(train)}, as the data is, got {path.name}")
        refuse_to_replace([path, report])
    found = find_copies(train, None if exact else threshold, splits)
    if path is not None:
        write_texts(train.subset(found.kept), path)
        write_json_atomic(report, found.to_json())
    if as_json:
        result({**found.to_json(), "written": out})
    else:
        tell_copies(found, out)


def tell_copies(found: Copies, out: str | None) -> None:
    """What is a copy of what, and how much is left."""
    print(f"{found.path}: {found.format}, {found.count:,} samples")
    for title, rows in (("the same as", found.exact), ("nearly the same as", found.near)):
        for row in rows[:_LISTED]:
            print(f"  {row['name']}  {title}  {row['of']}")
        if len(rows) > _LISTED:
            print(f"  and {len(rows) - _LISTED:,} more; --json lists them all")
    for row in found.leaks[:_LISTED]:
        print(f"  {row['name']}  {row['share']:.0%} of it stands in {row['split']}")
    if len(found.leaks) > _LISTED:
        print(f"  and {len(found.leaks) - _LISTED:,} more; --json lists them all")
    counts = {"exact copies": len(found.exact), "near copies": len(found.near), "leaks": len(found.leaks)}
    told = [f"{number:,} {what}" for what, number in counts.items() if number]
    print(f"{', '.join(told) or 'no copies'}; {len(found.kept):,} of {found.count:,} are left" + (f": {out}" if out else ""))


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
