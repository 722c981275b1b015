"""Rows of JSON, JSONL, CSV or parquet, each with its place: what formats of one sample a row have in common."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from liandan.data.errors import DataError

SUFFIXES = (".json", ".jsonl", ".csv", ".parquet")
_LISTED = 20  # bad rows told; the rest are counted

T = TypeVar("T")


class BadRow(ValueError):
    """A row that is not what its format says; the text says why."""


def judged(path: Path, judge: Callable[[Any], T], what: str, looks: Callable[[Any], str]) -> tuple[list[T], np.ndarray]:
    """Every row of a file through `judge`.

    Args:
        judge: row -> sample; raises BadRow.
        what: the samples, in the plural, for messages.
        looks: a bad row -> what it should look like.

    Returns:
        The samples, and where each stands: int64, the row's number from 1 (of JSONL and CSV: the line's).

    Raises:
        DataError: no row, or bad rows: the first twenty with their place and what is wrong, the number of the others, and what a row
            should look like.
    """
    found: list[T] = []
    numbers: list[int] = []
    bad: list[str] = []
    last = ""
    for number, row in rows(path):
        try:
            found.append(judge(row))
            numbers.append(number)
        except BadRow as error:
            bad.append(f"  {path.name}:{number}: {error}")
            last = looks(row)
    if bad:
        more = f"\n  and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
        listed = "\n".join(bad[:_LISTED])
        told = f"{len(bad)} of {len(bad) + len(found)} rows are no {what}"
        raise DataError(f"{path}: {told}:\n{listed}{more}\na row looks like {last}")
    if not found:
        raise DataError(f"{path}: expected {what}, found none; a row looks like {looks(None)}")
    return found, np.array(numbers, dtype=np.int64)


def the_file(path: Path, what: str) -> Path:
    """The file itself, or the only one of its kind in a folder; raises DataError."""
    if not path.is_dir():
        return path
    files = sorted(f for f in path.iterdir() if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
    if len(files) != 1:
        raise DataError(f"{path}: expected one file of {what} ({', '.join(SUFFIXES)}), found {len(files)}; name the file")
    return files[0]


def first_row(path: Path) -> Any:
    """The first row of a file, or of the only one in a folder; None where there is none that can be read."""
    try:
        return next(iter(rows(the_file(path, "rows"))))[1]
    except (DataError, OSError, StopIteration):
        return None


def rows(path: Path) -> Iterator[tuple[int, Any]]:
    """(row number, row) of a file; raises DataError where it is not what its name says. Cells beyond a CSV's columns have the key None."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet(path)
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if suffix == ".csv":
                csv.field_size_limit(sys.maxsize)
                table = csv.DictReader(file)
                for row in table:
                    yield table.line_num, row
            elif suffix == ".jsonl":
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield number, _line(path, number, line)
            else:
                whole = json.load(file)
                if not isinstance(whole, list):
                    raise DataError(f"{path}: expected a list of rows, got {type(whole).__name__}")
                yield from enumerate(whole, 1)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 ({error.reason} at byte {error.start:,}); save it as UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: expected JSON; line {error.lineno}: {error.msg}") from error
    except csv.Error as error:
        raise DataError(f"{path}: expected CSV; {error}") from error
    except RecursionError:
        raise DataError(f"{path}: expected JSON of a few levels, got one nested deeper than can be read") from None


def _line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{number}: expected one JSON object a line; {error.msg} at character {error.pos + 1}") from error


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise DataError(f'{path}: parquet needs pyarrow: pip install "liandan[text]"') from error
    try:
        number = 0
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except ArrowException as error:
        raise DataError(f"{path}: expected parquet; {error}") from error
