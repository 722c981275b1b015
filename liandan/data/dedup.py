"""Texts without their copies: what to keep of a data set, and the file of what is kept."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from liandan.data.conversations import ConversationSource
from liandan.data.errors import DataError
from liandan.data.labeled_text import LabeledText
from liandan.data.near_texts import near, shared
from liandan.data.rows import copy_rows
from liandan.data.text import TextSource

HELD = 0.5  # part of a text that stands in the validation data from which on it is left out of the training data


@dataclass
class Copies:
    """What `find_copies` found.

    Attributes:
        count: texts there are.
        exact: rows {name, of}: the same text but for white space around it, and the earlier one it repeats.
        near: rows {name, of}: nearly the same text, and the earlier one it is like.
        leaks: rows {name, split, share}: texts of which at least HELD stands in other data, which they would give away.
        kept: int64: the texts that are left.
    """

    path: str
    format: str
    count: int
    exact: list[dict[str, str]] = field(default_factory=list)
    near: list[dict[str, str]] = field(default_factory=list)
    leaks: list[dict[str, Any]] = field(default_factory=list)
    kept: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "kept": len(self.kept)}


def said(source: Any, i: int) -> str:
    """What is compared of a sample: a text, or all that is said in a conversation."""
    if isinstance(source, ConversationSource):
        return "\n".join(message.content for message in source.messages(i)).strip()
    return source.text(i).strip()


def find_copies(source: Any, threshold: float | None = 0.8, others: dict[str, Any] | None = None) -> Copies:
    """Find what says the same as an earlier text, nearly the same, or what other data is to be judged by.

    Args:
        source: texts: documents, labeled texts or conversations.
        threshold: see near_texts.near; None looks for exact copies alone.
        others: validation and test data, by name.

    Raises:
        DataError: data that is no text, or datasketch is not installed.
    """
    if not isinstance(source, TextSource | LabeledText | ConversationSource):
        raise DataError(f"{source.path}: expected texts, found {source.format}; of images `liandan data check` tells the copies")
    found = Copies(str(source.path), source.format, len(source))
    texts = [said(source, i) for i in range(len(source))]
    first: dict[bytes, int] = {}
    left: list[int] = []
    for i, text in enumerate(texts):
        earlier = first.setdefault(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), i)
        if earlier == i:
            left.append(i)
        else:
            found.exact.append({"name": source.name(i), "of": source.name(earlier)})
    if threshold is not None:
        pairs = {left[j]: left[i] for i, j in near([texts[i] for i in left], threshold)}
        found.near = [{"name": source.name(j), "of": source.name(i)} for j, i in pairs.items()]
        left = [i for i in left if i not in pairs]
    for split, other in (others or {}).items():
        # what is the same word for word is found whatever its length
        whole = {said(other, i) for i in range(len(other))}
        shares = list(shared((texts[i] for i in left), whole))
        given_away = {i: 1.0 if texts[i] in whole else share for i, share in zip(left, shares, strict=True)}
        given_away = {i: share for i, share in given_away.items() if share >= HELD}
        found.leaks += [{"name": source.name(i), "split": split, "share": share} for i, share in given_away.items()]
        left = [i for i in left if i not in given_away]
    found.kept = np.array(left, dtype=np.int64)
    return found


def suffix(source: Any) -> str:
    """Of the file that `write_texts` writes of a source."""
    if isinstance(source, TextSource):
        return ".txt"
    return ".jsonl" if source.path.is_dir() else source.path.suffix


def write_texts(source: Any, out: Path) -> None:
    """Write texts as a file of their own: documents in UTF-8, rows as they stand in theirs. Appears whole or not at all.

    Raises:
        DataError: data that is no text. OSError.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    making = out.with_name(f".{out.name}.{os.getpid()}{out.suffix}")
    try:
        if isinstance(source, TextSource):
            with making.open("w", encoding="utf-8", newline="") as file:
                file.writelines(source.pieces())
        elif isinstance(source, LabeledText) and source.path.is_dir():
            rows = ({"text": text, "label": source.labels[k]} for text, k in zip(source.texts, source.targets.tolist(), strict=True))
            with making.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        elif isinstance(source, LabeledText | ConversationSource):
            copy_rows(source.path, {int(source.name(i).rpartition(":")[2]) for i in range(len(source))}, making, source.encoding)
        else:
            raise DataError(f"{source.path}: expected texts, found {source.format}")
        os.replace(making, out)
    finally:
        making.unlink(missing_ok=True)
