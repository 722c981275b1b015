"""What is wrong with the data, found before a run does: every file is opened and decoded."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from liandan.data.errors import Unreadable
from liandan.data.image_files import ImageFiles
from liandan.data.images import decode, probe
from liandan.data.labeled_text import LabeledText
from liandan.data.text import TextSource
from liandan.data.tokens import TokenSource


@dataclass
class Report:
    """What `check` found; `to_json` of it is the command's --json.

    Attributes:
        count: samples: images, documents or tokens.
        classes: images of each class.
        sizes: images of each "width x height", as stored; the most frequent first.
        modes: images of each "format mode" ("PNG RGBA").
        unreadable: rows {file, reason}.
        duplicates: groups of names with the same content.
        conflicts: those of them whose members have different classes.
        ignored: files that are hidden or no images.
        empty_classes: class folders without an image.
        text: characters, bytes, documents, encodings; of labeled texts, their lengths in characters; of text only.
        faults: sentences; a person should act on each. Non-empty means judged bad.
        notes: sentences worth knowing.
    """

    path: str
    format: str
    count: int
    classes: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    unreadable: list[dict[str, str]] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    conflicts: list[list[str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    empty_classes: list[str] = field(default_factory=list)
    text: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check(source: Any) -> Report:
    """Judge a source. Reads all of it; an unreadable file is a row of the report, never an exception."""
    report = Report(str(source.path), source.format, len(source))
    if isinstance(source, TextSource):
        _check_text(source, report)
    elif isinstance(source, LabeledText):
        _check_labeled_text(source, report)
    elif isinstance(source, TokenSource):
        report.text = {"tokens": len(source), "vocab_size": source.vocab_size}
    else:
        _check_images(source, report)
    return report


def _check_images(source: Any, report: Report) -> None:
    sizes: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    same: dict[bytes, list[int]] = {}
    for i in range(len(source)):
        try:
            size, mode, content = _image_facts(source, i)
        except Unreadable as error:
            report.unreadable.append({"file": source.name(i), "reason": error.reason})
            continue
        sizes[size] += 1
        modes[mode] += 1
        same.setdefault(content, []).append(i)
    report.sizes, report.modes = dict(sizes.most_common()), dict(modes.most_common())
    groups = [group for group in same.values() if len(group) > 1]
    report.duplicates = [[source.name(i) for i in group] for group in groups]
    report.conflicts = [[source.name(i) for i in group] for group in groups if len({source.target(i) for i in group}) > 1]
    if source.labels is not None:
        counts = np.bincount(source.targets, minlength=len(source.labels))
        report.classes = {label: int(n) for label, n in zip(source.labels, counts, strict=True)}
    report.ignored, report.empty_classes = list(getattr(source, "ignored", ())), list(getattr(source, "empty", ()))
    _judge_images(report)


def _image_facts(source: Any, i: int) -> tuple[str, str, bytes]:
    """("width x height", "format mode", sha256 of the content), after a full decode; raises Unreadable."""
    if isinstance(source, ImageFiles):
        header = probe(source.file(i))
        decode(source.file(i))
        with Path(source.file(i)).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        return f"{header.size[1]} x {header.size[0]}", f"{header.format} {header.mode}", content
    image = source.image(i)
    return f"{image.shape[2]} x {image.shape[1]}", f"{source.format} L", hashlib.sha256(image.numpy().tobytes()).digest()


def _judge_images(report: Report) -> None:
    def some(names: list[str]) -> str:
        return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")

    if report.unreadable:
        names = [row["file"] for row in report.unreadable]
        report.faults.append(f"{len(names)} of {report.count} files cannot be read: {some(names)}")
    if report.empty_classes:
        report.faults.append(f"{len(report.empty_classes)} class folders hold no image: {some(report.empty_classes)}")
    if report.conflicts:
        groups = [" = ".join(group) for group in report.conflicts]
        report.faults.append(f"{len(groups)} images stand in several classes: {some(groups)}")
    if len(report.classes) == 1:
        report.faults.append(f'only one class, "{next(iter(report.classes))}": there is nothing to tell apart')
    inside = len(report.duplicates) - len(report.conflicts)
    if inside:
        report.notes.append(f"{inside} images occur more than once: a held-out copy of a training image flatters the validation")
    if report.ignored:
        report.notes.append(f"{len(report.ignored)} files are hidden or no images and are left out: {some(report.ignored)}")
    filled = [n for n in report.classes.values() if n]
    if filled and max(filled) > 10 * min(filled):
        report.notes.append(f"classes are uneven, {min(filled)} to {max(filled)} images: accuracy favors the large ones, look at macro f1")


def _check_labeled_text(source: LabeledText, report: Report) -> None:
    same: dict[str, list[int]] = {}
    for i, text in enumerate(source.texts):
        same.setdefault(text, []).append(i)
    groups = [group for group in same.values() if len(group) > 1]
    report.duplicates = [[source.name(i) for i in group] for group in groups]
    report.conflicts = [[source.name(i) for i in group] for group in groups if len({source.target(i) for i in group}) > 1]
    counts = np.bincount(source.targets, minlength=len(source.labels)).tolist()
    report.classes = dict(zip(source.labels, counts, strict=True))
    lengths = np.array([len(text) for text in source.texts])
    report.text = {name: int(np.quantile(lengths, q)) for name, q in (("shortest", 0.0), ("median", 0.5), ("95%", 0.95), ("longest", 1.0))}
    if report.conflicts:
        shown = ", ".join(" = ".join(group) for group in report.conflicts[:3])
        report.faults.append(f"{len(report.conflicts)} texts stand in several classes: {shown}")
    if len(report.classes) == 1:
        report.faults.append(f'only one class, "{source.labels[0]}": there is nothing to tell apart')
    if inside := len(groups) - len(report.conflicts):
        report.notes.append(f"{inside} texts occur more than once: a held-out copy of a training text flatters the validation")
    if max(counts) > 10 * min(counts):
        report.notes.append(f"classes are uneven, {min(counts)} to {max(counts)} texts: accuracy favors the large ones, look at macro f1")


def _check_text(source: TextSource, report: Report) -> None:
    characters = size = 0
    distinct: set[str] = set()
    try:
        for piece in source.pieces():
            characters, size = characters + len(piece), size + len(piece.encode())
            distinct.update(piece)
    except Unreadable as error:
        report.unreadable.append({"file": error.path, "reason": error.reason})
        report.faults.append(str(error))
    encodings = Counter(file.encoding for file in source.files)
    report.text = {
        "characters": characters, "bytes": size, "documents": len(source), "files": len(source.files), "distinct_characters": len(distinct),
        "encodings": dict(encodings),
    }  # fmt: skip
    report.notes.extend(source.notes)
    if not characters:
        report.faults.append("no text")
    if "\ufffd" in distinct:
        report.faults.append("holds the replacement character U+FFFD: it was damaged by an earlier conversion")
