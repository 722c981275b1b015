"""The two ways data fails: one file cannot be read (a run may go on without it), or the request makes no sense (it may not)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class DataError(ValueError):
    """The data is not what was asked for: says what was expected, what came and what to do."""


class Unreadable(ValueError):
    """One file cannot be decoded. A run may skip it; it survives pickling, so workers can raise it.

    Attributes:
        path: the file, as it was opened.
        reason: why, in words, without the path.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(str(path), reason)  # both in `args`: that is what pickle calls the class with
        self.path = str(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def suggest(word: str, choices: Iterable[str]) -> str:
    """`did you mean "resize"?`, or every choice when none is near."""
    known = sorted(choices)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else f"known: {', '.join(known)}"
