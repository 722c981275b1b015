"""Text from tokens as they come: never half a character, never a stop string or the beginning of one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Decode = Callable[[list[int]], str]  # ids -> text, U+FFFD for bytes that make no character
_HALF = "\ufffd"


@dataclass(frozen=True)
class Piece:
    """What is new of one text of several.

    Attributes:
        text: to append to what was told of it; may be empty in its last piece.
        tokens: made so far, with the one that ends the text.
        finish: "" while it goes on; "stop" at a token or a string that ends it, "length" when it has all the tokens it may have.
    """

    sequence: int
    text: str
    tokens: int
    finish: Literal["", "stop", "length"] = ""


class TextStream:
    """One text as its tokens come.

    A character is told when all its bytes are there, and no character that may be the first of a stop string before that is settled. The
    text ends before the stop string that is complete first, wherever its tokens begin and end; of two that are complete at the same
    character, before the longer one.

    Args:
        decode: of the tokenizer.
        stops: strings that end the text and are no part of it.
        before: the last tokens of what the text goes on from; none where it begins anew.

    Attributes:
        stopped: whether one of them came.

    Raises:
        ValueError: an empty stop string.
    """

    def __init__(self, decode: Decode, stops: Sequence[str] = (), before: Sequence[int] = ()) -> None:
        if "" in stops:
            raise ValueError("expected stop strings of at least one character, received an empty one")
        self._decode, self._stops, self.stopped = decode, tuple(stops), False
        self._ids = list(before)  # those of the last whole characters, which a tokenizer may need to write the next, and what came after
        self._known = len(self._ids)  # how many of them made whole characters
        self._read = len(decode(self._ids).rstrip(_HALF))  # characters of their text that were taken
        self._held = ""  # taken, and perhaps the beginning of a stop string

    def add(self, token: int) -> str:
        """The text that a token settles, often none; nothing once `stopped`."""
        if self.stopped:
            return ""
        self._ids.append(token)
        text = self._decode(self._ids)
        whole = text.rstrip(_HALF)
        new, self._read = whole[self._read :], max(self._read, len(whole))
        if whole == text:
            self._ids, self._known = self._ids[self._known :], len(self._ids) - self._known
            self._read = len(self._decode(self._ids))
        return self._settled(new)

    def end(self) -> str:
        """What is left when no more tokens come: also bytes that never became a character, and what only began like a stop string."""
        if self.stopped:
            return ""
        left = self._settled(self._decode(self._ids)[self._read :])
        self._ids, self._known, self._read, held, self._held = [], 0, 0, self._held, ""
        return left + held

    def _settled(self, new: str) -> str:
        text = self._held + new
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        begun = max((k for stop in self._stops for k in range(1, min(len(stop), len(text) + 1)) if text.endswith(stop[:k])), default=0)
        self._held = text[len(text) - begun :]
        return text[: len(text) - begun]


def write(
    made: Iterable[Tensor],
    done: Tensor,
    decode: Decode,
    limits: Sequence[int],
    *,
    ends: Collection[int] = (),
    stops: Sequence[str] = (),
    before: Sequence[Sequence[int]] | None = None,
) -> Iterator[Piece]:
    """The texts of several sequences, piece by piece; the last piece of each says why it ended.

    Args:
        made: int64 (B,) a token, as `sampling.generate` yields them.
        done: bool (B,), told to `generate` too: sequences are marked here as their texts end.
        limits: the most tokens of each, at least one.
        ends: tokens that end a text and are no part of it.
        stops: strings that do.
        before: what each text goes on from, see TextStream.
    """
    streams = [TextStream(decode, stops, before[i] if before else ()) for i in range(len(limits))]
    for count, chosen in enumerate(made, 1):
        for i, token in enumerate(chosen.tolist()):
            if bool(done[i]):
                continue
            stream, finish = streams[i], ""
            text = stream.end() if token in ends else stream.add(token)
            if token in ends or stream.stopped:
                finish = "stop"
            elif count >= limits[i]:
                text += stream.end()
                finish = "stop" if stream.stopped else "length"
            done[i] = bool(finish)
            if text or finish:
                yield Piece(i, text, count, finish)
