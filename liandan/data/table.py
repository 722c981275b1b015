"""Format `table`: a file of rows (.csv, .tsv, .parquet, .json, .jsonl) with a row for each image.

    path,label          one class                      label=label
    path,color,shape    one class of each head         label=[color, shape]
    path,tags           classes joined by a separator  label=tags separator=|
    path,cat,dog        0 or 1 for each class          label=[cat, dog] multi_label=true
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from liandan.data.annotations import class_names, paths_from
from liandan.data.errors import DataError, suggest
from liandan.data.listed import ListedImages, Row, build, refuse
from liandan.data.protocols import Labels
from liandan.data.rows import BadRow, Rows, first_row

COLUMN = "path"  # of the paths, unless the recipe says otherwise

Records = list[tuple[int, dict[str, str]]]  # the row's number, see rows.Rows, and text by column


def read_table(
    path: Path,
    image: str = COLUMN,
    label: str | list[str] = "label",
    separator: str | None = None,
    multi_label: bool = False,
    classes: str | list[str] | None = None,
    root: str | None = None,
    encoding: str | None = None,
    labels: Labels | None = None,
) -> ListedImages:
    """Read a table of images and their classes.

    Args:
        path: a file of rows, see rows.Rows.
        image: the column of the paths.
        label: the column of the classes' names. Several columns are heads, each with classes of its own.
        separator: what joins the names in the label column where an image has any number of classes.
        multi_label: whether each of the columns `label` is a class, with 1 where it is present and 0 where not.
        classes: class names in the order of their indices, or the class file, see `annotations`; the column may then hold indices.
            Default: the names found, sorted (as numbers where all are).
        root: the folder that paths are relative to. Default: the table's own folder, then the working folder.
        encoding: of a file of text. Default: UTF-8, with or without a byte order mark, and GB 18030 where that fails.
        labels: those of the training data, for its validation or test data.

    Raises:
        DataError: a column is missing, rows that cannot be used, all together, or no row leads to a file.
        Unreadable: the table is not text, or not parquet.
    """
    columns = [label] if isinstance(label, str) else list(label)
    joined = separator is not None
    if not columns or (joined and (len(columns) != 1 or multi_label or not separator)):
        raise DataError(f"{path}: expected one label column with a separator, or columns with multi_label, got {columns} and {separator!r}")
    records, notes = _records(path, image, columns, encoding)
    faults: list[tuple[int, str]] = [(line, f"column {image} is empty") for line, cells in records if not cells[image]]
    given: Labels | None = labels if labels is not None else class_names(classes, path, encoding)
    if multi_label:
        names: Labels = columns
        if isinstance(given, list) and given != columns:
            raise DataError(f"{path}: expected the columns {', '.join(given)}, the classes of the training data, got {', '.join(columns)}")
        targets = [_flags(line, cells, columns, faults) for line, cells in records]
    elif joined:
        assert separator is not None
        present = [_parts(cells[columns[0]], separator) for _, cells in records]
        names = given if isinstance(given, list) else _sorted(name for parts in present for name in parts)
        index = _index(names, [name for parts in present for name in parts])
        targets = [_present(line, parts, index, faults) for (line, _), parts in zip(records, present, strict=True)]
    elif len(columns) == 1:
        names = given if isinstance(given, list) else _sorted(cells[columns[0]] for _, cells in records if cells[columns[0]])
        targets = [(k,) for k in _column(records, columns[0], names, faults)]
    else:
        names = given if isinstance(given, dict) else {c: _sorted(cells[c] for _, cells in records if cells[c]) for c in columns}
        if list(names) != columns:
            raise DataError(f"{path}: expected the heads {', '.join(names)}, those of the training data, got {', '.join(columns)}")
        targets = list(zip(*(_column(records, c, names[c], faults) for c in columns), strict=True))
    rows = [Row(line, cells[image], target) for (line, cells), target in zip(records, targets, strict=True)]
    return build(path, "table", rows, root, faults, labels=names, multi_label=multi_label or joined, notes=notes)


def looks_like_table(path: Path) -> bool:
    """Whether the first row of a file has a key or column for the path of an image."""
    row = first_row(path)
    return isinstance(row, Mapping) and COLUMN in row


# --- what is in the cells ---------------------------------------------------------------------------------------------------


def _column(records: Records, column: str, names: list[str], faults: list[tuple[int, str]]) -> list[int]:
    """The index of each row's class; -1, and a fault, where the cell names none."""
    index = _index(names, [cells[column] for _, cells in records])
    out = []
    for line, cells in records:
        out.append(index.get(cells[column], -1))
        if out[-1] < 0:
            faults.append((line, f"column {column} is empty" if not cells[column] else _unknown(cells[column], index)))
    return out


def _index(names: Sequence[str], cells: Iterable[str]) -> dict[str, int]:
    """What a cell may say -> the index: names, or indices where every cell is one and none is a name."""
    by_name = {name: k for k, name in enumerate(names)}
    said = {cell for cell in cells if cell}
    if said and not said & by_name.keys() and all(cell.isdecimal() for cell in said):
        return {str(k): k for k in range(len(names))}
    return by_name


def _present(line: int, parts: list[str], index: dict[str, int], faults: list[tuple[int, str]]) -> tuple[int, ...]:
    faults.extend((line, _unknown(part, index)) for part in parts if part not in index)
    there = {index[part] for part in parts if part in index}
    return tuple(int(k in there) for k in range(len(index)))


def _flags(line: int, cells: dict[str, str], columns: list[str], faults: list[tuple[int, str]]) -> tuple[int, ...]:
    out = []
    for column in columns:
        value = cells[column].strip().lower().removesuffix(".0")
        if value not in ("0", "1", "false", "true"):
            faults.append((line, f'column {column}: expected 0 or 1, found "{cells[column]}"'))
        out.append(int(value in ("1", "true")))
    return tuple(out)


def _parts(cell: str, separator: str) -> list[str]:
    return [part.strip() for part in cell.split(separator) if part.strip()]


def _sorted(names: Iterable[str]) -> list[str]:
    found = set(names)
    return sorted(found, key=int) if all(name.isdecimal() for name in found) else sorted(found)


def _unknown(name: str, index: dict[str, int]) -> str:
    return f'"{name}" is none of the {len(index)} classes' + (f"; {suggest(name, index)}" if len(index) <= 20 else "")


# --- rows ----------------------------------------------------------------------------------------------------------------------


def _records(path: Path, image: str, labels: list[str], encoding: str | None) -> tuple[Records, list[str]]:
    """The rows' cells as text without the space around it, of the columns that are needed."""
    needed = [image, *labels]
    rows = Rows(path, encoding, needed)
    if rows.columns is not None:
        _need(path, needed, rows.columns)
    faults: list[tuple[int, str]] = []
    records: Records = []
    for number, row in rows:
        if not isinstance(row, Mapping):
            faults.append((number, str(row) if isinstance(row, BadRow) else f"expected an object with keys, got {type(row).__name__}"))
            continue
        if rows.columns is None and not records:  # of JSON the first row says what there is
            _need(path, needed, list(row))
        records.append((number, {column: _text(row.get(column)) for column in needed}))
    refuse(path, faults)
    return records, rows.notes


def _text(value: Any) -> str:
    """A value of JSON or parquet as .csv would have it."""
    return "" if value is None else str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _need(path: Path, needed: list[str], columns: list[str]) -> None:
    for column in needed:
        if columns.count(column) != 1:
            many = "comes twice" if column in columns else f'is missing; {suggest(column, columns)}; choose with `image` and `label`'
            raise DataError(f'{path}: the column "{column}" {many}')


# --- written ----------------------------------------------------------------------------------------------------------------


def table_lines(source: Any, folder: Path) -> str:
    """A .csv of a source with several classes an image, or several heads, to lie in `folder`, that `read_table` reads back.

    Raises:
        DataError: as `annotation_lines`; or a class or head is called as the column of the paths is.
    """
    heads = source.labels if isinstance(source.labels, dict) else None
    columns = list(source.labels or ())
    if source.targets is None or source.targets.ndim != 2 or "path" in columns:
        raise DataError(f"{source.path}: expected several classes or heads, none of them called path")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["path", *columns])
    for path, row in zip(paths_from(source, folder), source.targets.tolist(), strict=True):
        writer.writerow([path, *(row if heads is None else (names[k] for names, k in zip(heads.values(), row, strict=True)))])
    return out.getvalue()
