"""Format `choices`: questions with several answers to choose from, one of them right; one a row of JSON, JSONL or parquet.

    {"question": "The capital of France is", "choices": ["Rome", "Paris", "Oslo"], "answer": 1}

`answer` is the place of the right one, counted from 0, or its text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from liandan.data.fingerprint import digest, file_digest
from liandan.data.rows import BadRow, Rows, first_row, judged, the_file

# what is written without spaces between words: kana, Chinese characters, and their punctuation
DENSE = "\u2e80-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
_JOINED = re.compile(f"[{DENSE}\\s]")
_ROW = '{"question": "The capital of France is", "choices": ["Rome", "Paris", "Oslo"], "answer": 1}'

Shots = Sequence[tuple[str, str]]
"""Questions with their right answers, shown before each question: few-shot prompting (Brown et al. 2020)."""


@dataclass(frozen=True)
class Choice:
    """One question.

    Attributes:
        answer: index of the right one of `choices`.
    """

    question: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True)
class ChoiceSource:
    """Questions of one file.

    Attributes:
        rows: where each stands: the row's number, from 1 (of JSONL: the line's).
        checksum: sha256 of the file.
    """

    path: Path
    items: list[Choice] = field(repr=False)
    rows: np.ndarray
    checksum: str

    format = "choices"
    labels = None
    targets = None

    def __len__(self) -> int:
        return len(self.items)

    def target(self, i: int) -> int | None:
        return None

    def name(self, i: int) -> str:
        """ "exam.jsonl:12", its row."""
        return f"{self.path.name}:{int(self.rows[i])}"

    def subset(self, indices: np.ndarray) -> ChoiceSource:
        return ChoiceSource(self.path, [self.items[int(i)] for i in indices], self.rows[indices], self.checksum)

    def fingerprint(self) -> dict[str, Any]:
        return {"format": self.format, "count": len(self), "content": self.checksum, "rows": digest([row] for row in self.rows.tolist())}

    def manifest(self) -> list[list[Any]]:
        return [[self.path.name, self.path.stat().st_size, self.checksum]]


def read_choices(path: Path) -> ChoiceSource:
    """Read and judge every row of a file, or of the only one in a folder.

    Raises:
        BadRows: rows that are none, told as in `rows.judged`.
        DataError: no row.
    """
    file = the_file(path, "questions with choices")
    numbers, found = zip(*judged(Rows(file), choice, "questions with choices", lambda row: _ROW), strict=True)
    return ChoiceSource(file, list(found), np.array(numbers, dtype=np.int64), file_digest(file))


def looks_like_choices(path: Path) -> bool:
    """Whether the first row of a file, or of the only one in a folder, has the keys of a question with choices."""
    row = first_row(path)
    return isinstance(row, Mapping) and "question" in row and "choices" in row


def choice(row: Any) -> Choice:
    """One row -> its question; raises BadRow."""
    if not isinstance(row, Mapping):
        raise BadRow(f"expected an object with keys, got {type(row).__name__}")
    missing = [key for key in ("question", "choices", "answer") if row.get(key) is None]
    if missing:
        raise BadRow(f"no {' and no '.join(missing)}")
    question, choices, answer = row["question"], row["choices"], row["answer"]
    if not isinstance(question, str) or not question.strip():
        raise BadRow(f"question: expected text, got {question!r:.40}")
    if not (isinstance(choices, list | tuple) and len(choices) > 1 and all(isinstance(text, str) and text.strip() for text in choices)):
        raise BadRow(f"choices: expected a list of two texts or more, got {choices!r:.60}")
    if len(set(choices)) < len(choices):
        raise BadRow(f"choices: expected different texts, got {choices!r:.60}")
    if isinstance(answer, str) and answer in choices:
        return Choice(question, tuple(choices), list(choices).index(answer))
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise BadRow(f"answer: expected one of the choices, or its place from 0 to {len(choices) - 1}; got {answer!r:.40}")
    return Choice(question, tuple(choices), answer)


def between(question: str, answer: str) -> str:
    """What stands between a question and its answer in plain text: a space, but for scripts that write none, and after white space."""
    return "" if _JOINED.match(question[-1:]) or _JOINED.match(answer[:1]) else " "


def written_out(question: str, answer: str, shots: Shots = ()) -> tuple[str, str]:
    """(what is given, what is to be judged) of an answer in plain text; shots come first, an empty line after each."""
    shown = "".join(f"{asked}{between(asked, right)}{right}\n\n" for asked, right in shots)
    return shown + question, between(question, answer) + answer
