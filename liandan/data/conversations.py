"""Format `conversations`: questions and answers, one conversation a row; see rows.Rows.

Four shapes of a row are known, and told apart by their keys:

    alpaca      {"instruction": ..., "input": ..., "output": ..., "system": ..., "history": [[question, answer], ...]}
    sharegpt    {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}], "system": ...}
    messages    {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ..., "loss_weight": 1.0}]}
    prompt      {"prompt": ..., "completion": ...}

Whatever the shape, a conversation becomes messages in turn: perhaps a system message, then user and assistant, the assistant last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from liandan.data.fingerprint import digest, file_digest
from liandan.data.kept import Ragged, kept
from liandan.data.rows import BadRow, Rows, first_row, judged, the_file

_ROLES = {
    "system": "system", "user": "user", "assistant": "assistant", "human": "user", "gpt": "assistant", "model": "assistant",
}  # fmt: skip
_SHAPES = {
    "instruction": '{"instruction": "question", "input": "", "output": "answer"}',
    "conversations": '{"conversations": [{"from": "human", "value": "question"}, {"from": "gpt", "value": "answer"}]}',
    "messages": '{"messages": [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]}',
    "prompt": '{"prompt": "question", "completion": "answer"}',
}


@dataclass(frozen=True)
class Message:
    """One turn: who speaks, what is said, and how much each of its tokens weighs in the loss (assistants' alone do)."""

    role: str
    content: str
    loss_weight: float = 1.0


Conversation = list[Message]


@dataclass(frozen=True)
class ConversationSource:
    """Conversations of one file.

    Attributes:
        stored: all that the file has, as JSON and memory-mapped; see `_stored`.
        chosen: int64 (N,), which of them these are.
        checksum: sha256 of the file.
        encoding: of a file of text, where it was stated.
        notes: what a person should know of how it was read.
    """

    path: Path
    stored: Ragged = field(repr=False)
    chosen: np.ndarray = field(repr=False)
    checksum: str
    encoding: str | None = None
    notes: list[str] = field(default_factory=list, repr=False)

    format = "conversations"
    labels = None
    targets = None

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def rows(self) -> np.ndarray:
        """int64 (N,): where each conversation stands, see rows.Rows."""
        return self.stored.each("row")[self.chosen]

    def messages(self, i: int) -> Conversation:
        """The i-th conversation."""
        return [Message(*turn) for turn in json.loads(self.stored.of("json", int(self.chosen[i])).tobytes())]

    def target(self, i: int) -> int | None:
        return None

    def name(self, i: int) -> str:
        """ "qa.json:12", its row."""
        return f"{self.path.name}:{int(self.stored.each('row')[self.chosen[i]])}"

    def subset(self, indices: np.ndarray) -> ConversationSource:
        return replace(self, chosen=self.chosen[np.asarray(indices, dtype=np.int64)])

    def content(self) -> list[Any]:
        """All that the conversations depend on: the bytes, how they are read, and which of them."""
        return [self.checksum, self.encoding, digest([row] for row in self.rows.tolist())]

    def fingerprint(self) -> dict[str, Any]:
        return {"format": self.format, "count": len(self), "content": self.checksum, "rows": digest([row] for row in self.rows.tolist())}

    def manifest(self) -> list[list[Any]]:
        return [[self.path.name, self.path.stat().st_size, self.checksum]]


def read_conversations(path: Path, encoding: str | None = None) -> ConversationSource:
    """Read and judge every row of a file, or of the only one in a folder; what was judged once is kept for the next time.

    Args:
        encoding: of a file of text; default: UTF-8, and GB 18030 where that fails.

    Raises:
        BadRows: rows that are no conversations, told as in `rows.judged`.
        DataError: no row.
    """
    file = the_file(path, "conversations")
    rows, checksum = Rows(file, encoding), file_digest(file)
    facts = {"conversations": checksum, "suffix": file.suffix.lower(), "encoding": encoding}
    stored = Ragged(kept(facts, lambda: map(_stored, judged(rows, conversation, "conversations", _shape))))
    return ConversationSource(file, stored, np.arange(len(stored)), checksum, encoding, rows.notes)


def _stored(found: tuple[int, Conversation]) -> dict[str, np.ndarray]:
    """(number of the row, messages) -> its number, its JSON in bytes, and their length."""
    turns = [[message.role, message.content, message.loss_weight] for message in found[1]]
    data = np.frombuffer(json.dumps(turns).encode(), dtype=np.uint8)
    return {"json": data, "length": np.array([len(data)]), "row": np.array([found[0]])}


def looks_like_conversations(path: Path) -> bool:
    """Whether the first row of a file, or of the only one in a folder, has the keys of a conversation."""
    row = first_row(path)
    return isinstance(row, Mapping) and any(key in row for key in _SHAPES)


def conversation(row: Any) -> Conversation:
    """One row -> its messages; raises BadRow."""
    if not isinstance(row, Mapping):
        raise BadRow(f"expected an object with keys, got {type(row).__name__}")
    if "messages" in row:
        turns = [_message(turn, "role", "content") for turn in _list(row, "messages")]
    elif "conversations" in row:
        turns = [_message(turn, "from", "value") for turn in _list(row, "conversations")]
    elif "instruction" in row:
        turns = _alpaca(row)
    elif "prompt" in row:
        turns = [Message("user", _text(row, "prompt")), Message("assistant", _text(row, "completion"))]
    else:
        raise BadRow(f"expected one of the keys {', '.join(_SHAPES)}; got {', '.join(map(str, row)) or 'no key'}")
    if row.get("system") and turns and turns[0].role != "system":
        turns.insert(0, Message("system", _text(row, "system")))
    _judge(turns)
    return turns


def _alpaca(row: Mapping[str, Any]) -> Conversation:
    turns: Conversation = []
    for pair in row.get("history") or []:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise BadRow(f"history: expected [question, answer] pairs, got {pair!r:.60}")
        turns += [Message("user", pair[0]), Message("assistant", pair[1])]
    question, more = _text(row, "instruction"), row.get("input") or ""
    if not isinstance(more, str):
        raise BadRow(f"input: expected text, got {type(more).__name__}")
    return [*turns, Message("user", f"{question}\n{more}" if more else question), Message("assistant", _text(row, "output"))]


def _message(turn: Any, role: str, content: str) -> Message:
    if not isinstance(turn, Mapping) or role not in turn or content not in turn:
        raise BadRow(f'expected {{"{role}": ..., "{content}": ...}}, got {turn!r:.60}')
    if turn[role] not in _ROLES:
        raise BadRow(f"{role}: expected one of {', '.join(_ROLES)}; got {turn[role]!r:.40}")
    weight = turn.get("loss_weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
        raise BadRow(f"loss_weight: expected a number of 0 or more, got {weight!r:.40}")
    return Message(_ROLES[turn[role]], _text(turn, content), float(weight))


def _judge(turns: Conversation) -> None:
    spoken = [turn.role for turn in turns if turn.role != "system"]
    if [turn.role for turn in turns[1:]].count("system"):
        raise BadRow("a system message stands first or nowhere")
    expected = ["user", "assistant"] * (len(spoken) // 2)
    if not spoken or spoken != expected:
        raise BadRow(f"expected user and assistant in turn, the assistant last; got {', '.join(spoken) or 'no turn'}")
    if not any(turn.content.strip() for turn in turns if turn.role == "assistant"):
        raise BadRow("the answer is empty")


def _list(row: Mapping[str, Any], key: str) -> list[Any]:
    if not isinstance(row[key], list):
        raise BadRow(f"{key}: expected a list of turns, got {type(row[key]).__name__}")
    return row[key]


def _text(row: Mapping[str, Any], key: str) -> str:
    if not isinstance(row.get(key), str):
        raise BadRow(f'"{key}": expected text, got {type(row[key]).__name__ if key in row else "no such key"}')
    return row[key]


def _shape(row: Any) -> str:
    known = next((key for key in _SHAPES if isinstance(row, Mapping) and key in row), "instruction")
    return _SHAPES[known]
