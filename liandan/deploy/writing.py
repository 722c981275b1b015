"""A text that grows by a token at a time: what of it may be told, and why it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

_HALF = "\ufffd"  # what a character looks like of which some bytes are still to come


class Writing:
    """One text in the making.

    Args:
        tokens: ids as they are made; where they end before there are `limit`, the model ended its text.
        decode: ids -> text.
        limit: most tokens.
        stops: strings that end the text and do not belong to it. What may be the beginning of one is held back until it is known.

    Attributes:
        made: ids so far.
        finish: None while it goes on; "stop" where the model or a stop string ended it, "length" where it was cut.
    """

    def __init__(self, tokens: Iterator[int], decode: Callable[[list[int]], str], limit: int, stops: Sequence[str] = ()) -> None:
        self.tokens, self.decode, self.limit, self.stops = tokens, decode, limit, tuple(stops)
        self.made: list[int] = []
        self.finish: str | None = None
        self._told = 0  # characters

    def advance(self) -> str:
        """One token more; what can now be told of the text, which may be nothing."""
        token = next(self.tokens, None) if len(self.made) < self.limit else None
        if token is not None:
            self.made.append(token)
        elif self.finish is None:
            self.finish = "length" if len(self.made) >= self.limit else "stop"
        text = self.decode(self.made)
        found = [at for stop in self.stops if (at := text.find(stop)) >= 0]
        if found:
            text, self.finish = text[: min(found)], "stop"
        sure = len(text) if self.finish else len(text) - self._held(text)
        piece = text[self._told : sure]
        self._told = max(self._told, sure)
        return piece

    def _held(self, text: str) -> int:
        """Characters at the end of the text that may become something else."""
        halves = len(text) - len(text.rstrip(_HALF))
        begun = (k for stop in self.stops for k in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:k]))
        return max(halves, max(begun, default=0))
