"""What is wrong with a recipe, said so that a person can mend it: where, what was expected, what was received, what to do."""

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import scalars

MAX_FAULTS = 50  # a file that is wrong from end to end is not made clearer by its ten-thousandth fault
_MAX_WORD = 100  # difflib takes quadratic time in the length of a word
_SHOWN = 60  # characters of a value, or of a list of choices, that are worth a reader's time


@dataclass(frozen=True)
class Fault:
    """One fault of a recipe.

    key: dotted key (`train.batch_size`, `data.transforms.train[1].size`), empty when the fault is of the whole text.
    where: `rocks.yaml:12`, `command line`, or the name of another origin.
    expected, received: in words. hint: what to do, or empty.
    """

    key: str
    where: str
    expected: str
    received: str
    hint: str = ""

    def __str__(self) -> str:
        rows = [_line("  ".join(part for part in (self.where, self.key) if part))]
        for title, text in (("expected", self.expected), ("received", self.received), ("hint", self.hint)):
            if text:
                rows.append(f"    {title:<8}  {_line(text)}")
        return "\n".join(rows)


class RecipeError(ValueError):
    """A recipe that cannot be used. `faults` holds every fault that was found; the text shows one block for each.

    rest: the Recipe that stays without the faulty keys, for those who can judge it further before they tell; None where nothing stays.
    """

    def __init__(self, faults: Iterable[Fault], rest: Any = None) -> None:
        self.faults: list[Fault] = list(faults)
        self.rest = rest
        super().__init__(self.faults)

    def __str__(self) -> str:
        blocks = [str(fault) for fault in self.faults[:MAX_FAULTS]]
        if len(self.faults) > MAX_FAULTS:
            blocks.append(f"and {len(self.faults) - MAX_FAULTS} more")
        return "\n".join(blocks)


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that looks most like `word`, or None when none does. Letter case, `-` and `_` do not matter."""
    if len(word) > _MAX_WORD:
        return None
    folded: dict[str, str] = {}
    for choice in choices:
        folded.setdefault(_fold(choice), choice)
    close = difflib.get_close_matches(_fold(word), folded, n=1)
    return folded[close[0]] if close else None


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """`did you mean "batch_size"?`, or nothing when no choice comes near."""
    name = nearest(word, choices)
    return f'did you mean "{name}"?' if name and name != word else ""


def one_of(choices: Collection[str], limit: int = 12) -> str:
    """`one of: a, b, c`; the first `limit` of many."""
    names = list(choices)
    if not names:
        return "no arguments"
    return f"one of: {', '.join(names[:limit])}{', ...' if len(names) > limit else ''}"


def show(value: object) -> str:
    """A received value as a person would name it: `"big" (text)`, `-3`, `a list of 2 values`, `a mapping with: a, b`."""
    if isinstance(value, str):
        return f"{scalars.quote(_cut(value))} (text)"
    if value is None or isinstance(value, bool | int | float):
        return _cut(scalars.write(value))
    if isinstance(value, Mapping):
        return f"a mapping with: {_cut(', '.join(str(key) for key in value))}" if value else "an empty mapping"
    if isinstance(value, Sequence):
        return f"a list of {len(value)} value{'' if len(value) == 1 else 's'}"
    return f"an object of type {type(value).__module__}.{type(value).__qualname__}"


def _fold(word: str) -> str:
    return word.casefold().replace("-", "_")


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _line(text: str) -> str:
    # Keys and file names come from outside: a line break or an escape sequence in one must not write on the reader's terminal.
    return "".join(character if character.isprintable() else "?" for character in text)
