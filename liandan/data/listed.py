"""Images that a list or a table names: where its paths lead on this machine, and the classes it gives them."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from liandan.data.errors import DataError
from liandan.data.files import shown
from liandan.data.fingerprint import digest
from liandan.data.image_files import ImageFiles
from liandan.data.text_files import examine

_ABSOLUTE = re.compile(r"/|[A-Za-z]:/")
_MOST_FAULTS = 20  # lines told one by one


@dataclass(frozen=True)
class Row:
    """A line of a list: its number, the path as it is written, and the columns of its target."""

    line: int
    path: str
    target: tuple[int, ...]


@dataclass(frozen=True)
class ListedImages(ImageFiles):
    """Images in the order of a list; see ImageFiles.

    Attributes:
        path: the list; `files` are absolute.
        names: the paths as the list has them, with forward slashes: the same on every machine.
        notes: what a person should know of how the list was read.
    """

    names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def file(self, i: int) -> Path:
        return Path(self.files[i])

    def name(self, i: int) -> str:
        return shown(self.names[i])

    def subset(self, indices: np.ndarray) -> ListedImages:
        part = super().subset(indices)
        assert isinstance(part, ListedImages)
        return replace(part, names=[self.names[i] for i in np.asarray(indices, dtype=np.int64)])

    def fingerprint(self) -> dict[str, Any]:
        # Here neither the names tell the classes nor their order the order of the samples.
        samples = ([self.names[i], [] if self.targets is None else self.targets[i].tolist()] for i in range(len(self)))
        return {**super().fingerprint(), "samples": digest(samples)}


def build(path: Path, format: str, rows: Sequence[Row], root: str | None, faults: list[tuple[int, str]], **attributes: Any) -> ListedImages:
    """Images of the rows of a list.

    A file that is not there stays in the list, to be told and counted like any that cannot be read.

    Args:
        path: the list.
        root: the folder its paths are relative to; default: the list's own folder, then the working folder.
        faults: (line, what is wrong) of lines found so far.
        attributes: labels, multi_label, notes.

    Raises:
        DataError: lines are wrong (all are told together), two lines contradict each other, there is no line or none leads to a file.
    """
    kept: dict[str, Row] = {}
    repeated = 0
    for row in rows:
        first = kept.setdefault(_forward(row.path), row)
        if first is not row and first.target != row.target:
            faults.append((row.line, f"{row.path} has other classes on line {first.line}"))
        repeated += first is not row
    refuse(path, faults)
    if not kept:
        raise DataError(f"{path}: expected lines that name images, found none")
    if root is not None and not os.path.isdir(root):
        raise DataError(f"{path}: root: there is no folder {root}")
    bases = [os.path.abspath(base) for base in ([root] if root is not None else [path.parent, os.curdir])]
    found = locate(list(kept), [row.path for row in kept.values()], bases)
    if not found.any:
        looked = " and ".join(dict.fromkeys(bases))
        raise DataError(f"{path}: none of its {len(kept)} files is there; {next(iter(kept))} was looked for in {looked}. Set `root`")
    notes = [*attributes.pop("notes", ()), *found.notes]
    if repeated:
        notes.append(f"{repeated} lines of {path.name} repeat an earlier one and are left out")
    targets = np.array([row.target for row in kept.values()], dtype=np.uint8 if attributes.get("multi_label") else np.int64)
    if not attributes.get("multi_label") and not isinstance(attributes.get("labels"), dict):
        targets = targets[:, 0]
    return ListedImages(path, format, found.files, found.sizes, targets, names=list(kept), notes=notes, **attributes)


def refuse(path: Path, faults: Sequence[tuple[int, str]]) -> None:
    """Raise DataError that tells the first of the wrong lines and counts the rest; nothing when there is none."""
    if faults:
        told = [f"\n  line {line}: {text}" for line, text in sorted(faults)[:_MOST_FAULTS]]
        rest = len(faults) - len(told)
        more = f"\n  and {rest} more" if rest else ""
        raise DataError(f"{path}: {len(faults)} {'lines' if len(faults) > 1 else 'line'} cannot be used{''.join(told)}{more}")


def read_lines(path: Path, encoding: str | None) -> tuple[list[str], list[str]]:
    """(lines without their ends, notes); the encoding as `read_text` finds it. Raises Unreadable, and DataError where there is no file."""
    if not path.is_file():
        raise DataError(f"{path}: expected a text file, found {'a folder' if path.is_dir() else 'nothing'}")
    file = examine(path, path.name, encoding)
    text = path.read_bytes()[file.start :].decode(file.encoding)
    notes = [f"{path.name} is not UTF-8: read as {file.encoding}"] if encoding is None and file.encoding != "utf-8" else []
    return [line.removesuffix("\r") for line in text.split("\n")], notes


# --- where the files are ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Located:
    """The files of a list on this machine, their sizes in bytes, int64, whether there is any, and what to say of it."""

    files: list[str]
    sizes: np.ndarray
    any: bool
    notes: list[str]


def locate(names: Sequence[str], written: Sequence[str], bases: Sequence[str]) -> Located:
    """Where the files of a list are.

    An absolute path is tried as it stands, a relative one below each of `bases`. A list from another machine has absolute paths
    that lead nowhere here: their first folders are replaced by a base, as few as will do for the first such path and the same for all.

    Args:
        names: paths with forward slashes.
        written: the same as the list spells them: on Unix a backslash may be part of a name.
    """
    files: list[str] = []
    sizes = np.zeros(len(names), dtype=np.int64)
    moved: tuple[str, str] | None = None
    missing = 0
    for i, (name, spelled) in enumerate(zip(names, written, strict=True)):
        absolute = _ABSOLUTE.match(name) is not None
        tried = [os.path.join(base, spelling) for spelling in dict.fromkeys((name, spelled)) for base in ([""] if absolute else bases)]
        hit = _first_file(tried)
        if hit is None and absolute:
            moved = moved or _moved(name, bases)
            if moved is not None and name.startswith(moved[0]):
                hit = _first_file([os.path.join(moved[1], name.removeprefix(moved[0]))])
        files.append(tried[0] if hit is None else hit[0])
        sizes[i] = 0 if hit is None else hit[1]
        missing += hit is None
    notes = [] if moved is None else [f"{moved[0]} at the start of its paths is not on this machine: {moved[1]} is taken for it"]
    return Located(files, sizes, missing < len(names), notes)


def _forward(written: str) -> str:
    r"""`datas\train\1.jpg` -> `datas/train/1.jpg`."""
    return posixpath.normpath(written.replace("\\", "/"))


def _moved(name: str, bases: Sequence[str]) -> tuple[str, str] | None:
    """(beginning of an absolute path, the base that replaces it); None where nothing that does is found."""
    parts = name.split("/")
    for k in range(1, len(parts)):
        for base in bases:
            if _first_file([os.path.join(base, *parts[k:])]) is not None:
                return "/".join(parts[:k]) + "/", base
    return None


def _first_file(candidates: Sequence[str]) -> tuple[str, int] | None:
    """The first that is a file, and its size in bytes."""
    for candidate in candidates:
        try:
            facts = os.stat(candidate)
        except (OSError, ValueError):  # ValueError: a zero byte in the name
            continue
        if stat.S_ISREG(facts.st_mode):
            return candidate, facts.st_size
    return None
