"""Plain values that remember where they were written.

A `Node` tree is what readers build and layers are merged in: each value carries its own origin, so merging needs no bookkeeping.
A `Document` is the same thing flattened for those who ask: plain values, and a map from dotted key to place.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .scalars import Scalar

MAX_DEPTH = 50  # levels of nesting
MAX_VALUES = 5_000  # values of one recipe, those repeated by aliases counted each time
MAX_KEY = 100  # characters of a key: YAML looks for the colon within 1024, and each may have to be written as \U0001F9EA
KEY_IN_WORDS = f"a key that is text, of at most {MAX_KEY} characters"
TEXT_IN_WORDS = "text that can be written as UTF-8"

_LAST_PART = re.compile(r"(\.[^.\[\]]*|\[[0-9]+\]|^[^.\[\]]+)$")


@dataclass(frozen=True, slots=True)
class Node:
    """A scalar, a list or a mapping, and where it was written (`rocks.yaml:12`, `command line`)."""

    value: "Scalar | list[Node] | dict[str, Node]"
    where: str


@dataclass(frozen=True, slots=True)
class Document:
    """What was written, merged but not completed by defaults.

    values: plain mappings, lists and scalars. lines: dotted key -> `rocks.yaml:12`; the empty key is the origin as a whole.
    path: the file it came from, None for values given in Python. notes: what a person should know of how it was read.
    """

    values: dict[str, Any]
    lines: dict[str, str]
    path: Path | None = None
    notes: tuple[str, ...] = ()

    def where(self, key: str) -> str:
        """Where `key` was written; for a key that was not written, the nearest section above it."""
        while key and key not in self.lines:
            key = _LAST_PART.sub("", key) if _LAST_PART.search(key) else ""
        return self.lines.get(key, "")

    def node(self) -> Node:
        """The tree again, each value with its origin."""
        return self._node(self.values, "")

    def _node(self, value: Any, key: str) -> Node:
        if isinstance(value, dict):
            return Node({name: self._node(child, join(key, name)) for name, child in value.items()}, self.where(key))
        if isinstance(value, list):
            return Node([self._node(child, f"{key}[{i}]") for i, child in enumerate(value)], self.where(key))
        return Node(value, self.where(key))

    @classmethod
    def of(cls, root: Node, path: Path | None = None, notes: tuple[str, ...] = ()) -> "Document":
        """The flat form of a tree whose root is a mapping."""
        lines: dict[str, str] = {}
        values = _flatten(root, "", lines)
        return cls(values, lines, path, notes)


def join(key: str, name: str) -> str:
    """`train` and `batch_size` -> `train.batch_size`."""
    return f"{key}.{name}" if key else name


class NotPlain(ValueError):
    """A Python value that no recipe could have written. `key` says which, `value` is the culprit."""

    def __init__(self, key: str, value: object, expected: str) -> None:
        super().__init__(key, value, expected)
        self.key, self.value, self.expected = key, value, expected


def has_surrogates(text: str) -> bool:
    """Whether text holds halves of characters, as file names do that are no UTF-8: they cannot be written to a file."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def plant(value: object, where: str) -> Node:
    """A tree of plain Python values, all with one origin. Copies; paths become text, tuples lists. Raises NotPlain."""
    left = MAX_VALUES

    def grow(value: object, key: str, depth: int) -> Node:
        nonlocal left
        left -= 1
        if left < 0 or depth > MAX_DEPTH:  # also what ends a list that holds itself
            raise NotPlain(key, value, f"at most {MAX_VALUES} values, nested at most {MAX_DEPTH} deep")
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, Mapping):
            for name in value:
                if not isinstance(name, str) or len(name) > MAX_KEY or has_surrogates(name):
                    raise NotPlain(key, name, KEY_IN_WORDS)
            return Node({name: grow(child, join(key, name), depth + 1) for name, child in value.items()}, where)
        if isinstance(value, list | tuple):
            return Node([grow(child, f"{key}[{i}]", depth + 1) for i, child in enumerate(value)], where)
        if isinstance(value, str) and has_surrogates(value):
            raise NotPlain(key, value, TEXT_IN_WORDS)
        if value is None or isinstance(value, str | int | float):
            return Node(value, where)
        raise NotPlain(key, value, "a plain value: text, a number, true, false, null, a list or a mapping")

    return grow(value, "", 0)


def _flatten(node: Node, key: str, lines: dict[str, str]) -> Any:
    lines[key] = node.where
    if isinstance(node.value, dict):
        return {name: _flatten(child, join(key, name), lines) for name, child in node.value.items()}
    if isinstance(node.value, list):
        return [_flatten(child, f"{key}[{i}]", lines) for i, child in enumerate(node.value)]
    return node.value
