"""What is wrong with the data, found before a run does: every file is opened and decoded."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liandan.data.check_text import lengths_of, near_texts_of, said_of, token_lengths
from liandan.data.conversations import ConversationSource
from liandan.data.duplicates import SHAPE, alike, groups, thumbnail
from liandan.data.errors import Unreadable
from liandan.data.image_files import ImageFiles
from liandan.data.images import decode, probe
from liandan.data.labeled_text import LabeledText
from liandan.data.rows import BadRows
from liandan.data.stats import class_counts
from liandan.data.text import TextSource
from liandan.data.tokens import TokenSource

_MOST_ALIKE = 0.01  # of a split: fewer samples that are only like those of another split are noted, for looks can deceive


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
        near_duplicates: groups of names of one picture, saved again or resized; or of nearly the same text.
        leaks: rows {name, other, split, how} of samples that an earlier split has too, as `other`; how: "same content", or for
            pictures "looks alike", for texts "reads alike".
        ignored: files that are hidden or no images.
        empty_classes: class folders without an image.
        text: characters, bytes, documents, encodings; of labeled texts and conversations, their lengths in characters; of text only.
        tokens: of labeled texts and conversations, their lengths in tokens; see check_text.token_lengths.
        bad_rows: rows {file, line, reason} of a file of rows that are none of its format; nothing else of that file is looked at.
        looks: what such a row should look like.
        empty_answers: conversations in which the assistant says nothing.
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
    near_duplicates: list[list[str]] = field(default_factory=list)
    leaks: list[dict[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    empty_classes: list[str] = field(default_factory=list)
    text: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, Any] = field(default_factory=dict)
    bad_rows: list[dict[str, Any]] = field(default_factory=list)
    looks: str = ""
    empty_answers: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check(source: Any, pipeline: Any = None) -> Report:
    """Judge a source. Reads all of it; an unreadable file is a row of the report, never an exception."""
    return check_splits({"train": source}, pipeline)["train"]


def check_splits(splits: Mapping[str, Any], pipeline: Any = None) -> dict[str, Report]:
    """Judge the splits of a run, each by itself and for what it shares with those before it; see `check`.

    Args:
        pipeline: what makes tokens of labeled texts or conversations in the run; None: lengths are told in characters alone.
    """
    reports = {name: Report(str(source.path), source.format, len(source)) for name, source in splits.items()}
    several = {name: source for name, source in splits.items() if not isinstance(source, TextSource | TokenSource)}
    for name, source in splits.items():
        if isinstance(source, TextSource):
            _check_text(source, reports[name])
        elif isinstance(source, TokenSource):
            reports[name].text = {"tokens": len(source), "vocab_size": source.vocab_size}
    _compare([seen for name, source in several.items() for seen in _look(name, source, reports[name], pipeline)], several, reports)
    for name, source in several.items():
        _judge(source, reports[name])
    return reports


def check_rows(error: BadRows) -> Report:
    """The report of a file that cannot be read as data for its rows."""
    report = Report(str(error.path), error.path.suffix.removeprefix("."), error.count, looks=error.looks)
    report.bad_rows = [{"file": error.path.name, "line": line, "reason": reason} for line, reason in error.rows]
    report.faults = [f"{len(error.rows)} of {error.count} rows are none; one looks like {error.looks}"]
    return report


@dataclass(frozen=True)
class _Seen:
    """A readable sample: its split, its index there, the sha256 of its content, and what near copies of it are known by: an image's
    thumbnail where it is no smaller, or a text."""

    split: str
    index: int
    content: bytes
    look: Any


def _look(split: str, source: Any, report: Report, pipeline: Any) -> list[_Seen]:
    """Read every sample, counting what they are."""
    report.classes = class_counts(source)
    if isinstance(source, LabeledText | ConversationSource):
        return _look_at_texts(split, source, report, pipeline)
    sizes: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    seen = []
    for i in range(len(source)):
        try:
            size, mode, content, image = _image_facts(source, i)
        except Unreadable as error:
            report.unreadable.append({"file": source.name(i), "reason": error.reason})
            continue
        sizes[size] += 1
        modes[mode] += 1
        large = image.shape[1] >= SHAPE[1] and image.shape[2] >= SHAPE[2]  # below there is too little to tell pictures apart by their looks
        seen.append(_Seen(split, i, content, thumbnail(image) if large else None))
    report.sizes, report.modes = dict(sizes.most_common()), dict(modes.most_common())
    report.ignored, report.empty_classes = list(getattr(source, "ignored", ())), list(getattr(source, "empty", ()))
    return seen


def _look_at_texts(split: str, source: LabeledText | ConversationSource, report: Report, pipeline: Any) -> list[_Seen]:
    texts = [said_of(source, i) for i in range(len(source))]
    report.text = lengths_of([text.length for text in texts])
    report.empty_answers = [source.name(i) for i, text in enumerate(texts) if text.empty]
    if pipeline is not None:
        token_lengths(source, pipeline, report)
    # a lone half of a surrogate pair, which JSON can hold, is no UTF-8
    return [_Seen(split, i, hashlib.sha256(t.exact.encode("utf-8", "surrogatepass")).digest(), t.whole) for i, t in enumerate(texts)]


def _image_facts(source: Any, i: int) -> tuple[str, str, bytes, torch.Tensor]:
    """("width x height", "format mode", sha256 of the content, uint8 (3, height, width)); raises Unreadable."""
    if isinstance(source, ImageFiles):
        header = probe(source.file(i))
        image = decode(source.file(i))
        with Path(source.file(i)).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        return f"{header.size[1]} x {header.size[0]}", f"{header.format} {header.mode}", content, image
    image = source.image(i)
    return f"{image.shape[2]} x {image.shape[1]}", f"{source.format} L", hashlib.sha256(image.numpy().tobytes()).digest(), image


def _compare(seen: list[_Seen], splits: Mapping[str, Any], reports: dict[str, Report]) -> None:
    """Find copies and near copies, within each split and across them."""
    same: dict[bytes, list[int]] = {}
    for k, image in enumerate(seen):
        same.setdefault(image.content, []).append(k)
    for group in same.values():
        for split, indices in _by_split(seen, group).items():
            if len(indices) > 1:
                source = splits[split]
                names = [source.name(i) for i in indices]
                reports[split].duplicates.append(names)
                if len({str(source.target(i)) for i in indices}) > 1:
                    reports[split].conflicts.append(names)
    looks = {group[0]: look for group in same.values() if (look := seen[group[0]].look) is not None}
    firsts = list(looks)
    how_alike, pairs = "looks alike", list[tuple[int, int]]()
    if looks and isinstance(looks[firsts[0]], str):
        how_alike, pairs = "reads alike", near_texts_of(list(looks.values()), next(iter(reports.values())))
    elif looks:
        pairs = alike(np.stack(list(looks.values())), lambda i: splits[seen[firsts[i]].split].image(seen[firsts[i]].index))
    near = [[firsts[i] for i in group] for group in groups(pairs)]
    for group in near:
        for split, indices in _by_split(seen, group).items():
            if len(indices) > 1:
                reports[split].near_duplicates.append([splits[split].name(i) for i in indices])
    leaked: set[int] = set()
    nearly = [[k for first in group for k in same[seen[first].content]] for group in near]  # with the copies of each
    for how, found in (("same content", [group for group in same.values() if len(group) > 1]), (how_alike, nearly)):
        for group in found:
            first = seen[group[0]]  # `seen` is in the order of the splits
            for image, k in ((seen[k], k) for k in group if seen[k].split != first.split and k not in leaked):
                leaked.add(k)
                row = {"name": splits[image.split].name(image.index), "other": splits[first.split].name(first.index)}
                reports[image.split].leaks.append({**row, "split": first.split, "how": how})


def _by_split(seen: list[_Seen], group: list[int]) -> dict[str, list[int]]:
    """Indices of a group's images in each split."""
    out: dict[str, list[int]] = {}
    for k in group:
        out.setdefault(seen[k].split, []).append(seen[k].index)
    return out


def _judge(source: Any, report: Report) -> None:
    what = {LabeledText: "texts", ConversationSource: "conversations"}.get(type(source), "images")

    def some(names: list[str]) -> str:
        return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")

    if report.unreadable:
        names = [row["file"] for row in report.unreadable]
        report.faults.append(f"{len(names)} of {report.count} files cannot be read: {some(names)}")
    if report.empty_classes:
        report.faults.append(f"{len(report.empty_classes)} class folders hold no image: {some(report.empty_classes)}")
    if report.conflicts:
        report.faults.append(f"{len(report.conflicts)} {what} stand in several classes: {some([' = '.join(g) for g in report.conflicts])}")
    if report.empty_answers:
        report.faults.append(f"{len(report.empty_answers)} {what} have an answer that is empty: {some(report.empty_answers)}")
    for how, bearable in (("same content", 0.0), ("looks alike", _MOST_ALIKE), ("reads alike", _MOST_ALIKE)):
        pairs = [f"{row['name']} = {row['other']} of {row['split']}" for row in report.leaks if row["how"] == how]
        told = report.faults if len(pairs) > bearable * report.count else report.notes
        if pairs:
            told.append(f"{len(pairs)} of {report.count} {what} are in another split too ({how}), which flatters the score: {some(pairs)}")
    if len(report.classes) == 1:
        report.faults.append(f'only one class, "{next(iter(report.classes))}": there is nothing to tell apart')
    inside = len(report.duplicates) - len(report.conflicts)
    if inside:
        report.notes.append(f"{inside} {what} occur more than once: a held-out copy of a training sample flatters the validation")
    if report.near_duplicates:
        shown = some([" ~ ".join(group) for group in report.near_duplicates])
        again = "resized or saved anew" if what == "images" else "nearly word for word"
        report.notes.append(f"{len(report.near_duplicates)} {what} occur again {again}: {shown}")
    report.notes.extend(getattr(source, "notes", ()))
    if report.ignored:
        report.notes.append(f"{len(report.ignored)} files are hidden or no images and are left out: {some(report.ignored)}")
    filled = [n for n in report.classes.values() if n]
    if filled and max(filled) > 10 * min(filled):
        report.notes.append(f"classes are uneven, {min(filled)} to {max(filled)} {what}: accuracy favors the large ones, look at macro f1")


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
