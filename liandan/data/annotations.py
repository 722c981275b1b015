r"""Format `annotations`: a text file with a line `<path> <index>` for each image.

    datas/train/花岗岩/photo 1.jpg 3
    C:\Users\me\rocks\train\basalt\2.jpg 0

Everything before the last space is the path. A class file has a line `<name> <index>` for each class, or the names alone, in order.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from liandan.data.errors import DataError
from liandan.data.image_files import ImageFiles
from liandan.data.images import SUFFIXES
from liandan.data.listed import ListedImages, Row, build, read_lines, refuse
from liandan.data.protocols import Labels

_ENTRY = re.compile(r"(.*\S)\s+([0-9]{1,9})")
_IMAGE = "|".join(re.escape(suffix) for suffix in sorted(SUFFIXES)).encode()
_LINE = re.compile(rb".+(?:%s)[ \t]+[0-9]{1,9}[ \t]*\r?" % _IMAGE, re.IGNORECASE)
_HEAD = 1 << 16  # bytes that are looked at to tell a list from any other text
_MOST_UNNAMED = 100_000  # classes without a class file; beyond, an index is rather a slip


def read_annotations(
    path: Path,
    classes: str | list[str] | None = None,
    root: str | None = None,
    encoding: str | None = None,
    labels: Labels | None = None,
) -> ListedImages:
    """Read a list of images and the index of each one's class.

    Args:
        path: the list.
        classes: the class file (relative to the working folder, or beside the list), or the names in order. Default: "0", "1" ...
        root: the folder that paths are relative to. Default: the list's own folder, then the working folder.
        encoding: of the list and the class file. Default: UTF-8, with or without a byte order mark, and GB 18030 where that fails.
        labels: class names of the training data, for its validation or test data.

    Raises:
        DataError: lines that cannot be used, all together; no line leads to a file; the class file is wrong or is not the training data's.
        Unreadable: the list or the class file is no text.
    """
    lines, notes = read_lines(path, encoding)
    names = class_names(classes, path, encoding)
    if isinstance(labels, dict):
        raise DataError(f"{path}: a list has one class an image, and the training data one of each of {', '.join(labels)}; use a table")
    if names is not None and labels is not None and names != labels:
        raise DataError(f"{path}: its classes are not those of the training data: {_difference(names, labels)}")
    names = names if labels is None else list(labels)
    limit = _MOST_UNNAMED if names is None else len(names)
    rows: list[Row] = []
    faults: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        entry = _ENTRY.fullmatch(line.strip())
        if entry is None:
            faults.append((number, f'expected "<path> <index>", found "{line.strip()[:200]}"'))
        elif int(entry[2]) >= limit:
            known = f"the {limit} classes are 0 to {limit - 1}" if names is not None else "without `classes` an index is below 100,000"
            faults.append((number, f"class {entry[2]}: {known}"))
        else:
            rows.append(Row(number, entry[1], (int(entry[2]),)))
    if names is None:
        names = [str(k) for k in range(1 + max((row.target[0] for row in rows), default=0))]
    return build(path, "annotations", rows, root, faults, labels=names, notes=notes)


def class_names(classes: str | list[str] | None, beside: Path, encoding: str | None) -> list[str] | None:
    """Names of the classes in the order of their indices.

    Args:
        classes: a class file, relative to the working folder or to the folder of `beside`; or the names; or None.

    Raises:
        DataError: a line is wrong, an index or a name comes twice, or the indices are not 0, 1, 2 ...
    """
    if classes is None:
        return None
    if isinstance(classes, str):
        file = next((f for f in (Path(classes), beside.parent / classes) if f.is_file()), Path(classes))
        return _read_classes(file, encoding)
    names = [str(name) for name in classes]
    if len(set(names)) < len(names) or not names:
        raise DataError(f"{beside}: classes: expected names that differ, got {', '.join(names) or 'none'}")
    return names


def _read_classes(file: Path, encoding: str | None) -> list[str]:
    lines = [(number, line.strip()) for number, line in enumerate(read_lines(file, encoding)[0], 1) if line.strip()]
    if not lines:
        raise DataError(f"{file}: expected a line `<name> <index>` for each class, found none")
    entries = [_ENTRY.fullmatch(line) for _, line in lines]
    if any(entries):
        found = [(number, line, entry and (entry[1], int(entry[2]))) for (number, line), entry in zip(lines, entries, strict=True)]
    else:  # names alone
        found = [(number, line, (line, k)) for k, (number, line) in enumerate(lines)]
    faults: list[tuple[int, str]] = []
    by_index: dict[int, tuple[int, str]] = {}
    by_name: dict[str, int] = {}
    for number, line, entry in found:
        if entry is None:
            faults.append((number, f'expected "<name> <index>", found "{line[:200]}"'))
            continue
        name, index = entry
        if by_name.setdefault(name, number) != number:
            faults.append((number, f'the name "{name}" stands on line {by_name[name]} already'))
        before, other = by_index.setdefault(index, (number, name))
        if before != number:
            faults.append((number, f'the index {index} is that of "{other}", on line {before}'))
    if not faults:  # beside a repeated index a gap says nothing new
        indices = sorted(by_index)
        faults = [(by_index[i][0], f"index {i}, expected {k}") for k, i in enumerate(indices) if i != k][:1]
    refuse(file, faults)
    return [by_index[k][1] for k in range(len(by_index))]


def is_list(path: Path) -> bool:
    """Whether most lines at the start of a text file are `<image> <index>`."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    lines = [line for line in head.split(b"\n")[: None if len(head) < _HEAD else -1] if line.strip()]
    return bool(lines) and 2 * sum(_LINE.fullmatch(line) is not None for line in lines) > len(lines)


def _difference(ours: list[str], training: list[str]) -> str:
    if len(ours) != len(training):
        return f"{len(ours)}, and there are {len(training)}"
    k = next(k for k, (a, b) in enumerate(zip(ours, training, strict=True)) if a != b)
    return f'class {k} is "{ours[k]}", and there "{training[k]}"'


# --- written ---------------------------------------------------------------------------------------------------------------


def annotation_lines(source: Any, folder: Path) -> str:
    """A list of `source`, to lie in `folder`, that `read_annotations` reads back; its paths lead from there.

    Raises:
        DataError: images that are no files of their own, without one class each, or whose names cannot stand in a list.
    """
    if isinstance(source.labels, dict) or source.multi_label or source.targets is None:
        raise DataError(f"{source.path}: a list has one class an image, which this data has not")
    return "".join(f"{path} {source.target(i)}\n" for i, path in enumerate(paths_from(source, folder)))


def class_lines(names: list[str]) -> str:
    """The class file; raises DataError for names that cannot stand in one."""
    odd = [name for name in names if "\n" in name or name != name.strip()]
    if odd:
        raise DataError(f"the class name {odd[0]!r} cannot stand in a list: it holds the end of a line, or begins or ends with a space")
    return "".join(f"{name} {k}\n" for k, name in enumerate(names))


def paths_from(source: Any, folder: Path) -> list[str]:
    """Each image's path as it is found from `folder`, with forward slashes; raises DataError."""
    if not isinstance(source, ImageFiles):
        raise DataError(f"{source.path}: its samples are no image files of their own, so no list can name them")
    out = []
    for i in range(len(source)):
        file = os.path.abspath(source.file(i))
        try:
            path = os.path.relpath(file, folder).replace(os.sep, "/")
        except ValueError:  # another drive
            path = file.replace(os.sep, "/")
        path = f"./{path}" if path[0].isspace() else path
        if "\n" in path or path != path.encode("utf-8", "replace").decode():
            raise DataError(f"{file!r} cannot stand in a list: its name is no text of one line")
        out.append(path)
    return out
