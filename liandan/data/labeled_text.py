"""Format `labeled_text`: texts with a class each.

    {"text": "很好，推荐", "label": "positive"}     a row of JSON, JSONL, CSV or parquet
    positive/1.txt                                 or a folder with a folder of .txt files for each class
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from liandan.data.errors import DataError, suggest
from liandan.data.files import hidden, shown, walk
from liandan.data.fingerprint import digest, file_digest
from liandan.data.rows import BadRow, Rows, first_row, judged, the_file
from liandan.data.text import read_text

_TEXT, _LABEL = "text", "label"


@dataclass(frozen=True)
class LabeledText:
    """Texts with a class each.

    Attributes:
        texts: without white space around them, none empty.
        targets: int64 (N,), indices into `labels`.
        names: where each stands: "reviews.jsonl:12" (its row, of JSONL and CSV its line), or "positive/1.txt".
        files: [name, bytes, sha256] of each file.
        encoding: of the files, where it was stated.
        notes: what a person should know of how they were read.
    """

    path: Path
    texts: list[str] = field(repr=False)
    targets: np.ndarray
    labels: list[str]
    names: list[str] = field(repr=False)
    files: list[list[Any]] = field(repr=False)
    encoding: str | None = None
    notes: list[str] = field(default_factory=list, repr=False)

    format = "labeled_text"
    multi_label = False

    def __len__(self) -> int:
        return len(self.texts)

    def text(self, i: int) -> str:
        return self.texts[i]

    def target(self, i: int) -> int:
        return int(self.targets[i])

    def name(self, i: int) -> str:
        return self.names[i]

    def subset(self, indices: np.ndarray) -> LabeledText:
        texts, names = [self.texts[int(i)] for i in indices], [self.names[int(i)] for i in indices]
        return replace(self, texts=texts, targets=self.targets[indices], names=names)

    def content(self) -> str:
        """sha256 of the texts."""
        return digest([text] for text in self.texts)

    def fingerprint(self) -> dict[str, Any]:
        return {
            "format": self.format,
            "count": len(self),
            "files": digest(self.files),
            "labels": digest([[label] for label in self.labels]),
            "samples": digest(zip(self.names, self.targets.tolist(), strict=True)),
        }

    def manifest(self) -> list[list[Any]]:
        return self.files


def read_labeled_text(
    path: Path, text: str = _TEXT, label: str = _LABEL, encoding: str | None = None, labels: list[str] | None = None
) -> LabeledText:
    """Read a file of rows, the only one in a folder, or a folder with a folder of .txt files for each class.

    Args:
        path: the file or folder.
        text: the key, or column, of the text.
        label: the key of the class: a name, or a whole number, which is a name as well.
        encoding: of the files; default: UTF-8, and GB 18030 where that fails.
        labels: class names whose order gives the targets (a run's own, for its validation or test data). Default: the names
            found, sorted: as numbers where all are, else by code point.

    Raises:
        DataError: no text, bad rows with their places, or a class that is not among `labels`.
    """
    if path.is_dir() and (classes := _class_folders(path)):
        return _read_folders(path, classes, encoding, labels)

    def judge(row: Any) -> tuple[str, str]:
        found = _judge(row, text, label)
        if labels is not None and found[1] not in labels:
            raise BadRow(f'{label}: "{found[1]}" is not a class of the training data; {suggest(found[1], labels)}')
        return found

    file = the_file(path, "texts with a label each")
    rows = Rows(file, encoding)
    found = list(judged(rows, judge, "texts with a label each", lambda row: f'{{"{text}": "...", "{label}": "positive"}}'))
    names, files = [f"{file.name}:{row}" for row, _ in found], [[file.name, file.stat().st_size, file_digest(file)]]
    return _source(file, [one for _, one in found], names, labels, files, encoding, rows.notes)


def looks_like_labeled_text(path: Path) -> bool:
    """Whether the first row of a file, or of the only one in a folder, has the keys `text` and `label`."""
    row = first_row(path)
    return isinstance(row, Mapping) and _TEXT in row and _LABEL in row


def _judge(row: Any, text: str, label: str) -> tuple[str, str]:
    """(text, class) of a row; raises BadRow."""
    if not isinstance(row, Mapping):
        raise BadRow(f"expected an object with keys, got {type(row).__name__}")
    for key in (text, label):
        if key not in row:
            known = [str(k) for k in row]
            raise BadRow(f'no "{key}"; {suggest(key, known) if known else "it has no key at all"}')
    said, given = row[text], row[label]
    if not isinstance(said, str):
        raise BadRow(f"{text}: expected text, got {'nothing' if said is None else type(said).__name__}")
    if not said.strip():
        raise BadRow(f"{text}: is empty")
    if not isinstance(given, str | int):
        raise BadRow(f"{label}: expected a name or a whole number, got {'nothing' if given is None else repr(given)[:40]}")
    if not str(given).strip():
        raise BadRow(f"{label}: is empty")
    return said.strip(), str(given).strip()


def _class_folders(path: Path) -> list[str]:
    """Folders of a folder that hold .txt files, at whatever depth."""
    inside = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not hidden(entry.name))
    return [name for name in inside if any(found.relative.lower().endswith(".txt") for found in walk(path, name))]


def _read_folders(path: Path, classes: list[str], encoding: str | None, labels: list[str] | None) -> LabeledText:
    unknown = [name for name in map(shown, classes) if labels is not None and name not in labels]
    if unknown:
        raise DataError(f'{path}: folder "{unknown[0]}" is not a class of the training data; {suggest(unknown[0], labels or ())}')
    found: list[tuple[str, str]] = []
    names: list[str] = []
    files: list[list[Any]] = []
    notes: list[str] = []
    for name in classes:
        relatives = sorted(f.relative for f in walk(path, name) if f.relative.lower().endswith(".txt"))
        for relative in relatives:
            one = read_text(path / relative, encoding)
            said = "".join(one.pieces()).strip()
            notes += one.notes
            if not said:
                raise DataError(f"{path / relative}: is empty; remove it")
            found.append((said, shown(name)))
            names.append(shown(relative))
            files.append([shown(relative), (path / relative).stat().st_size, file_digest(path / relative)])
    return _source(path, found, names, labels, files, encoding, notes)


def _source(
    path: Path, found: list[tuple[str, str]], names: list[str], labels: list[str] | None, files: list[list[Any]],
    encoding: str | None, notes: list[str],
) -> LabeledText:  # fmt: skip
    there = {label for _, label in found}
    numbers = all(label.isdecimal() for label in there)
    known = list(labels) if labels is not None else sorted(there, key=lambda label: (int(label), label) if numbers else (0, label))
    index = {label: k for k, label in enumerate(known)}
    targets = np.array([index[label] for _, label in found], dtype=np.int64)
    return LabeledText(path, [said for said, _ in found], targets, known, names, files, encoding, notes)
