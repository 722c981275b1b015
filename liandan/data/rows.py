"""Rows of JSON, JSONL, CSV, TSV or parquet, each with its place: the one reader of every format of a sample a row.

A table in text is UTF-8, with or without a byte order mark, or GB 18030, and its cells are told apart by commas, semicolons or tabs: which
ones is found out. All but a JSON list is read a row at a time.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TextIO, TypeVar

from liandan.data.errors import DataError, Unreadable
from liandan.data.text_files import examine

SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet")
_LISTED = 20  # bad rows told; the rest are counted

T = TypeVar("T")


class BadRow(ValueError):
    """A row that is not what its format says; the text says why."""


class BadRows(DataError):
    """Rows of a file that are not what its format says.

    Attributes:
        path: the file.
        rows: (number of the row, why) of each.
        count: rows of the file, good and bad.
        looks: what a row should look like.
    """

    def __init__(self, path: Path, rows: list[tuple[int, str]], count: int, what: str, looks: str) -> None:
        self.path, self.rows, self.count, self.looks = path, rows, count, looks
        listed = "\n".join(f"  {path.name}:{number}: {reason}" for number, reason in rows[:_LISTED])
        more = f"\n  and {len(rows) - _LISTED} more" if len(rows) > _LISTED else ""
        super().__init__(f"{path}: {len(rows)} of {count} rows are no {what}:\n{listed}{more}\na row looks like {looks}")


class Rows:
    """The rows of a file, in order: (number, row), and in the place of a row that is none the BadRow that says why.

    A number is the row's, from 1; of JSONL, CSV and TSV it is that of the line where the row begins. Cells of CSV are text.

    Args:
        encoding: of a file of text; default: UTF-8, and GB 18030 where that fails, with a note.
        wanted: columns of a parquet file that are needed; default: all.

    Attributes:
        columns: names of a table's columns; None of JSON, each row of which has keys of its own.
        notes: what a person should know of how the file was read.

    Raises:
        DataError: the file is not what its name says.
        Unreadable: it is binary, or in another encoding.
    """

    def __init__(self, path: Path, encoding: str | None = None, wanted: Collection[str] = ()) -> None:
        self.path, self.wanted = path, wanted
        self.columns: list[str] | None = None
        self.notes: list[str] = []
        suffix = path.suffix.lower()
        if suffix == ".parquet":
            self._parquet_columns()
            self._each: Callable[[], Iterator[tuple[int, Any]]] = self._parquet
            return
        self._file = examine(path, path.name, encoding)
        if encoding is None and self._file.encoding != "utf-8":
            self.notes.append(f"{path.name} is not UTF-8: read as {self._file.encoding}")
        self._each = {".csv": self._table, ".tsv": self._table, ".jsonl": self._lines}.get(suffix, self._list)
        if suffix in (".csv", ".tsv"):
            self._header("\t" if suffix == ".tsv" else ",;\t")

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return self._each()

    def _open(self) -> TextIO:
        file = self.path.open("rb")
        file.seek(self._file.start)
        return io.TextIOWrapper(file, encoding=self._file.encoding, newline="")

    def _header(self, delimiters: str) -> None:
        csv.field_size_limit(sys.maxsize)
        with self._open() as file:
            line = file.readline()
        self.delimiter = max(delimiters, key=lambda delimiter: len(next(csv.reader([line], delimiter=delimiter), [])))
        self.columns = self._named([cell.strip() for cell in next(csv.reader([line], delimiter=self.delimiter), [])])

    def _named(self, columns: list[str]) -> list[str]:
        twice = [name for name, count in Counter(columns).items() if count > 1 and name]
        if twice:
            raise DataError(f'{self.path}: the column "{twice[0]}" comes twice')
        return columns

    def _table(self) -> Iterator[tuple[int, Any]]:
        columns = self.columns or []
        with self._open() as file:
            reader = csv.reader(file, delimiter=self.delimiter, strict=True)
            next(reader, None)
            while True:
                number = reader.line_num + 1
                try:
                    cells = next(reader, None)
                except csv.Error as error:  # where the next row would begin cannot be told
                    yield number, BadRow(f"not CSV: {error}")
                    return
                if cells is None:
                    return
                if len(cells) == len(columns):
                    yield number, dict(zip(columns, cells, strict=True))
                elif any(cell.strip() for cell in cells):
                    advice = "; a cell that holds the separator stands in double quotes" if len(cells) > len(columns) else ""
                    yield number, BadRow(f"expected {len(columns)} cells, found {len(cells)}{advice}")

    def _lines(self) -> Iterator[tuple[int, Any]]:
        with self._open() as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield number, json.loads(line)
                except json.JSONDecodeError as error:
                    yield number, BadRow(f"expected one JSON object a line; {error.msg} at character {error.pos + 1}")
                except RecursionError:
                    yield number, BadRow("expected JSON of a few levels, got one nested deeper than can be read")

    def _list(self) -> Iterator[tuple[int, Any]]:
        try:
            with self._open() as file:
                whole = json.load(file)
        except json.JSONDecodeError as error:
            raise DataError(f"{self.path}: expected JSON; line {error.lineno}: {error.msg}") from error
        except RecursionError:
            raise DataError(f"{self.path}: expected JSON of a few levels, got one nested deeper than can be read") from None
        if not isinstance(whole, list):
            raise DataError(f"{self.path}: expected a list of rows, got {type(whole).__name__}")
        yield from enumerate(whole, 1)

    def _parquet_columns(self) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise DataError(f'{self.path}: needs pyarrow, which cannot be imported here ({error}): pip install "liandan[table]"') from error
        try:
            self.columns = self._named(parquet.read_schema(self.path).names)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{self.path}: expected a parquet file: {error}") from error

    def _parquet(self) -> Iterator[tuple[int, Any]]:
        import pyarrow
        from pyarrow import parquet

        wanted = [name for name in self.columns or () if not self.wanted or name in self.wanted]
        number = 0
        try:
            with parquet.ParquetFile(self.path) as file:
                for batch in file.iter_batches(columns=wanted):
                    for row in batch.to_pylist():
                        number += 1
                        yield number, row
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{self.path}: expected a parquet file: {error}") from error


    def copy_parquet(self, numbers: Collection[int], out: Path) -> None:
        """Some rows of a parquet file, by their numbers, with its types."""
        from pyarrow import parquet

        with parquet.ParquetFile(self.path) as file, parquet.ParquetWriter(out, file.schema_arrow) as writer:
            number = 1
            for batch in file.iter_batches():
                writer.write_batch(batch.take([i for i in range(len(batch)) if number + i in numbers]))
                number += len(batch)


def judged(rows: Rows, judge: Callable[[Any], T], what: str, looks: Callable[[Any], str]) -> Iterator[tuple[int, T]]:
    """(number, sample) of every row of a file through `judge`. What is wrong is told when all rows have been seen.

    Args:
        judge: row -> sample; raises BadRow.
        what: the samples, in the plural, for messages.
        looks: a bad row -> what it should look like.

    Raises:
        BadRows: with all that are bad; the text tells the first twenty with their place and what is wrong, and what a row should look like.
        DataError: there is no row.
    """
    good, bad, last = 0, list[tuple[int, str]](), None
    for number, row in rows:
        try:
            if isinstance(row, BadRow):
                raise row
            sample = judge(row)
        except BadRow as error:
            bad.append((number, str(error)))
            last = row
            continue
        good += 1
        yield number, sample
    if bad:
        raise BadRows(rows.path, bad, len(bad) + good, what, looks(last))
    if not good:
        raise DataError(f"{rows.path}: expected {what}, found none; a row looks like {looks(None)}")


def copy_rows(path: Path, numbers: Collection[int], out: Path, encoding: str | None = None) -> None:
    """Write some rows of a file, chosen by their numbers, to a file of the same kind, in UTF-8; what they hold stays as it is.

    Raises:
        DataError, Unreadable: see Rows. OSError.
    """
    rows = Rows(path, encoding)
    kept = (row for number, row in rows if number in numbers)
    if path.suffix.lower() == ".parquet":
        rows.copy_parquet(numbers, out)
        return
    # half of a surrogate pair, which JSON can hold and UTF-8 cannot, is written as JSON writes it
    with out.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        if rows.columns is not None:
            writer = csv.writer(file, delimiter=rows.delimiter)
            writer.writerow(rows.columns)
            writer.writerows([row[column] for column in rows.columns] for row in kept)
        elif path.suffix.lower() == ".jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        else:
            json.dump(list(kept), file, ensure_ascii=False, indent=1)


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
        row = next(iter(Rows(the_file(path, "rows"))))[1]
        return None if isinstance(row, BadRow) else row
    except (DataError, Unreadable, OSError, StopIteration):
        return None
