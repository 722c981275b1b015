"""liandan predict"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from liandan.cli.output import JSON, QUIET, error, result


def command(
    target: str = typer.Argument(help="A run directory, a run's name, last, or the folder of an exported artefact."),
    inputs: list[str] = typer.Argument(help="Images, videos, folders of them, or prompts; - reads them from standard input, one a line."),
    every: str = typer.Option("0", "--every", help="Time between two frames of a video, such as 1s or 500ms; 0 takes all of them."),
    out: Path = typer.Option(None, "--out", help="Write the predictions to this .csv or .jsonl, too."),
    as_json: bool = JSON,
    quiet: bool = QUIET,
) -> None:
    """Predict: classes for images, a continuation for a prompt. A file that cannot be read is told, and stops nothing; exit code 1 then."""
    from liandan import api
    from liandan.deploy.predictor import WRITERS, predict

    seconds = in_seconds(every)
    if seconds is None or (out is not None and out.suffix not in WRITERS):
        expected = "--every: a time such as 1s, 500ms or 0" if seconds is None else f"--out: a file name ending in {' or '.join(WRITERS)}"
        error(f"predict: expected {expected}; received {every if seconds is None else out}")
        raise typer.Exit(2)
    rows: Iterable[dict[str, Any]] = predict(api.open_predictor(target), listed(inputs), seconds)
    failed, kept = 0, []
    with contextlib.ExitStack() as stack:
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            encoding = "utf-8-sig" if out.suffix == ".csv" else "utf-8"  # Excel takes a CSV without the mark for a local code page
            rows = WRITERS[out.suffix](rows, stack.enter_context(out.open("w", encoding=encoding, newline="")))
        for row in rows:
            failed += "error" in row
            if as_json:
                kept.append(row)
            elif not quiet:
                print(line(row), flush=True)
    if as_json:
        result(kept)
    if failed:
        error(f"{failed} could not be read")
        raise typer.Exit(1)


def listed(inputs: Iterable[str]) -> Iterator[str]:
    """The inputs, with the lines of standard input in the place of `-`."""
    for item in inputs:
        if item == "-":
            yield from (given for text in sys.stdin if (given := text.rstrip("\r\n")))
        else:
            yield item


def in_seconds(text: str) -> float | None:
    """`1s`, `500ms`, `0.5` in seconds; None for what is no time."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(ms|s)?", text.strip())
    return None if match is None else float(match[1]) / (1000 if match[2] == "ms" else 1)


def line(row: dict[str, Any]) -> str:
    """One prediction for a person."""
    where = row.get("input", "") + (f" {row['seconds']:.2f}s" if "seconds" in row else "")
    if "error" in row:
        return f"{where}\tcannot be read: {row['error']}"
    if "label" in row:
        return f"{where}\t" + "  ".join(f"{x['label']} {x['confidence']:.1%}" for x in row["top"][:3])
    if "text" in row:
        return row["text"]
    return f"{where}\t" + "  ".join(f"{k} {str(v)[:60]}" for k, v in row.items() if k not in ("input", "seconds"))
