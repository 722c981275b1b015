"""What a data set is made of: classes and how even they are, sizes, kinds of files. Of images headers alone are read."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from liandan.data.check_text import lengths_of
from liandan.data.conversations import ConversationSource
from liandan.data.errors import Unreadable
from liandan.data.image_files import ImageFiles
from liandan.data.images import probe
from liandan.data.labeled_text import LabeledText
from liandan.data.text import TextSource


@dataclass
class Statistics:
    """Numbers of one source.

    Attributes:
        count: samples: images, documents or tokens.
        classes: samples of each class, in the order of the indices; "head/class" where there are heads.
        balance: of the classes, where an image has one: `smallest` and `largest` (samples), `majority` (accuracy of always guessing
            the largest, 0 to 1), `effective` (number of equal classes with the same entropy).
        width, height: smallest, median and largest, in pixels, as stored.
        sizes: images of each "width x height", the most frequent first.
        modes: images of each "format mode" ("PNG RGBA"), the most frequent first.
        text: of documents, their lengths in bytes; of labeled texts and conversations, those in characters, of questions and answers each;
            {"shortest", "median", "95%", "longest"}; and of conversations how many have one turn, several, a system message.
        bytes: of all files.
        unreadable: files whose header cannot be read; `check` says why.
    """

    path: str
    format: str
    count: int
    classes: dict[str, int] = field(default_factory=dict)
    balance: dict[str, float] = field(default_factory=dict)
    width: list[float] = field(default_factory=list)
    height: list[float] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    text: dict[str, dict[str, int]] = field(default_factory=dict)
    bytes: int = 0
    unreadable: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def class_counts(source: Any) -> dict[str, int]:
    """Samples of each class, in the order of the indices; {"head/class": ...} where there are heads, none without labels."""
    if getattr(source, "labels", None) is None:
        return {}
    if isinstance(source.labels, dict):
        columns = zip(source.labels.items(), source.targets.T, strict=True)
        return {f"{head}/{name}": n for (head, names), column in columns for name, n in _counted(names, column).items()}
    if source.multi_label:
        return dict(zip(source.labels, source.targets.sum(axis=0, dtype=np.int64).tolist(), strict=True))
    return _counted(source.labels, source.targets)


def _counted(names: list[str], targets: np.ndarray) -> dict[str, int]:
    return dict(zip(names, np.bincount(targets, minlength=len(names)).tolist(), strict=True))


def statistics(source: Any) -> Statistics:
    """Count what a source holds; raises nothing for single files."""
    found = Statistics(str(source.path), source.format, len(source), bytes=sum(row[1] for row in source.manifest()))
    found.classes = class_counts(source)
    if found.classes and not source.multi_label and isinstance(source.labels, list):
        found.balance = _balance(list(found.classes.values()))
    found.text = _texts(source)
    if isinstance(source, ImageFiles):
        _headers(source, found)
    elif getattr(source, "size", None) is not None:
        height, width = source.size
        found.width, found.height, found.sizes = [width] * 3, [height] * 3, {f"{width} x {height}": len(source)}
    return found


def _texts(source: Any) -> dict[str, dict[str, int]]:
    if isinstance(source, TextSource):
        return {"documents, bytes": lengths_of(source.spans[:, 2] - source.spans[:, 1])}
    if isinstance(source, LabeledText):
        return {"texts, characters": lengths_of([len(text) for text in source.texts])}
    if not isinstance(source, ConversationSource):
        return {}
    said: dict[str, list[int]] = {"user": [], "assistant": [], "system": []}
    single = 0
    for i in range(len(source)):
        turns = source.messages(i)
        single += sum(turn.role == "assistant" for turn in turns) == 1
        for turn in turns:
            said[turn.role].append(len(turn.content))
    return {
        "conversations": {"of one answer": single, "of several": len(source) - single, "with a system message": len(said["system"])},
        "questions, characters": lengths_of(said["user"]), "answers, characters": lengths_of(said["assistant"]),
    }  # fmt: skip


def _balance(counts: list[int]) -> dict[str, float]:
    shares = [n / sum(counts) for n in counts if n]
    effective = math.exp(-sum(p * math.log(p) for p in shares))
    return {"smallest": min(counts), "largest": max(counts), "majority": max(shares), "effective": effective}


def _headers(source: ImageFiles, found: Statistics) -> None:
    sizes: Counter[tuple[int, int]] = Counter()
    modes: Counter[str] = Counter()
    for i in range(len(source)):
        try:
            header = probe(source.file(i))
        except Unreadable:
            found.unreadable += 1
            continue
        sizes[header.size] += 1
        modes[f"{header.format} {header.mode}"] += 1
    if sizes:
        all_sizes = np.repeat(np.array(list(sizes)), list(sizes.values()), axis=0)
        found.height, found.width = np.stack([all_sizes.min(axis=0), np.median(all_sizes, axis=0), all_sizes.max(axis=0)], axis=1).tolist()
    found.sizes = {f"{width} x {height}": n for (height, width), n in sizes.most_common()}
    found.modes = dict(modes.most_common())
