"""What the parts of a conversion share: a dict of the config of which every value is accounted for, and what is told."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from .document import Node, join
from .faults import Fault, did_you_mean, one_of, show
from .python_config import plain


class Section:
    """A dict of the config: what is taken from it, and what is left."""

    def __init__(self, node: Node | None, key: str, where: str) -> None:
        self.nodes: dict[str, Node] = node.value if node is not None and isinstance(node.value, dict) else {}
        self.key, self.where = key, node.where if node is not None else where
        self.taken: set[str] = set()

    def node(self, name: str) -> Node | None:
        """The value under a name, marked as taken."""
        self.taken.add(name)
        return self.nodes.get(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The plain value under a name."""
        node = self.node(name)
        return default if node is None else plain(node)

    def section(self, name: str) -> Section:
        return Section(self.node(name), join(self.key, name), self.where)

    def at(self, name: str) -> str:
        """Where a name was written."""
        return self.nodes[name].where if name in self.nodes else self.where

    def said(self, name: str) -> str:
        """A value as it was written, for messages."""
        return f"{join(self.key, name)}={self.get(name)!r}"

    def left(self) -> list[str]:
        """The names nobody took."""
        return [name for name in self.nodes if name not in self.taken]


@dataclass
class Tell:
    """notes: what is not as it was there. faults: what has no counterpart. inits: where an initialization is asked for."""

    notes: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    inits: list[str] = field(default_factory=list)

    def note(self, where: str, text: str) -> None:
        self.notes.append(f"{where}  {text}")

    def fault(self, key: str, where: str, expected: str, received: str, hint: str = "") -> None:
        """key: of the recipe, which a `key=value` on the command line sets instead."""
        self.faults.append(Fault(key, where, expected, received, hint))

    def choice(self, section: Section, name: str, choices: Collection[str], key: str, default: str | None = None) -> str | None:
        """A value that must be one of some names; a fault and None otherwise."""
        value = section.get(name, default)
        if isinstance(value, str) and value in choices:
            return value
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        received = f"{join(section.key, name)}: {show(value)}"
        self.fault(key, section.at(name), one_of(choices, len(choices)), received, hint or f"or {key}=...")
        return None
