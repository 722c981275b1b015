"""Examples to be shown before each question, from a file of `choices` or `conversations`."""

from __future__ import annotations

from pathlib import Path

from liandan.data.choices import ChoiceSource
from liandan.data.conversations import ConversationSource
from liandan.data.errors import DataError
from liandan.data.readers import read


def read_shots(path: str | Path) -> list[tuple[str, str]]:
    """[(question, right answer)] of every row, in order.

    Raises:
        DataError: no such file, a bad row with its place, another format, or a conversation of several turns.
    """
    source = read(path)
    if isinstance(source, ChoiceSource):
        return [(item.question, item.choices[item.answer]) for item in source.items]
    if not isinstance(source, ConversationSource):
        raise DataError(f"{path}: expected examples as rows of choices or of questions with an answer, found {source.format}")
    shots = []
    for i in range(len(source)):
        turns = [message for message in source.messages(i) if message.role != "system"]
        if len(turns) != 2:
            raise DataError(f"{path}: {source.name(i)}: expected one question with its answer, got a conversation of {len(turns)} turns")
        shots.append((turns[0].content, turns[1].content))
    return shots
