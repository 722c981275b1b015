"""One recipe over another: a base, the recipe itself, and what the command line adds.

Mappings are merged, everything else is replaced. Two things make merging more than that:

- Under `optimizer`, `model` and their like the keyword arguments belong to the thing that is named. When a layer names another thing, the
  arguments of the old one go: `momentum` of SGD is a fault under AdamW, a `drop_rate` that one backbone needed may hurt the next unseen.
  The section's own keys (`model.weights`, `schedule.warmup`) mean the same for every name, so they stay.
- `{epochs: 10}` and `{steps: 500}` exclude each other, as do a held-out part and a path: the upper layer's choice replaces the lower one's.
"""

import re
from typing import Any

from .document import MAX_DEPTH, Node, join
from .faults import Fault, RecipeError, show
from .schema import HoldOut, Named, Open, Recipe, Section, Source, sections_below

Sections = tuple[type[Section], ...]

_KEY = re.compile(r"[^.\[\]\s=]+(\[[0-9]{1,6}\])*(\.[^.\[\]\s=]+(\[[0-9]{1,6}\])*)*")
_PART = re.compile(r"\[([0-9]+)\]|([^.\[\]]+)")


def merge(lower: Node, upper: Node, sections: Sections = (Recipe,)) -> Node:
    """`upper` over `lower`. `sections`: what the schema allows at this place."""
    lower = expand(lower, sections)
    if not isinstance(lower.value, dict) or not isinstance(upper.value, dict):
        return upper
    merged = _survivors(lower.value, upper.value, sections)
    for name, child in upper.value.items():
        merged[name] = merge(merged[name], child, sections_below(sections, name)) if name in merged else child
    return Node(merged, upper.where)


def put(node: Node, key: str, value: Node) -> Node:
    """`node` with `value` merged in at a dotted key. Raises RecipeError when the key leads through something that has no keys."""
    if not _KEY.fullmatch(key):
        raise RecipeError([Fault("", value.where, "a dotted key such as train.batch_size", show(key))])
    parts = [int(index) if index else name for index, name in _PART.findall(key)]
    if len(parts) > MAX_DEPTH:
        raise RecipeError([Fault("", value.where, f"a dotted key of at most {MAX_DEPTH} parts", f"{len(parts)} parts")])
    return _put(node, parts, value, (Recipe,), "")


def expand(node: Node, sections: Sections) -> Node:
    """A shorthand written out, so that keys can be laid over it."""
    shorthand = next((section.shorthand for section in sections if section.shorthand), "")
    return Node({shorthand: node}, node.where) if shorthand and isinstance(node.value, str) else node


def _put(node: Node | None, parts: list[Any], value: Node, sections: Sections, key: str) -> Node:
    if not parts:
        return value if node is None else merge(node, value, sections)
    part, rest = parts[0], parts[1:]
    node = Node({}, value.where) if node is None or node.value is None else expand(node, sections)
    if isinstance(part, int):
        if not isinstance(node.value, list) or part >= len(node.value):
            received = f"[{part}], and {key} is {_describe(node)}"
            raise RecipeError([Fault(f"{key}[{part}]", value.where, f"the position of a value in {key}", received)])
        items = list(node.value)
        items[part] = _put(items[part], rest, value, sections, f"{key}[{part}]")
        return Node(items, node.where)
    if not isinstance(node.value, dict):
        raise RecipeError([Fault(join(key, part), value.where, f"a key of a section; {key} is {_describe(node)}", part)])
    merged = _survivors(node.value, {part: value if not rest else Node(None, value.where)}, sections)
    merged[part] = _put(merged.get(part), rest, value, sections_below(sections, part), join(key, part))
    return Node(merged, node.where)


def _survivors(lower: dict[str, Node], upper: dict[str, Node], sections: Sections) -> dict[str, Node]:
    """What stays of a lower mapping when `upper` comes over it."""
    gone: set[str] = set()
    for section in sections:
        if upper.keys() & set(section.alternatives):
            gone |= set(section.alternatives) - upper.keys()
        if issubclass(section, Named) and "name" in upper and _name(lower, section) not in (None, upper["name"].value):
            gone |= lower.keys() - section.model_fields.keys()
    if HoldOut in sections and Source in sections:  # data.val: one or the other, never a mixture
        held, read = HoldOut.model_fields.keys(), Source.model_fields.keys()
        if (upper.keys() & held and lower.keys() & read) or (upper.keys() & read and lower.keys() & held):
            gone |= lower.keys()
    return {name: child for name, child in lower.items() if name not in gone}


def _name(mapping: dict[str, Node], section: type[Open]) -> Any:
    """The name a mapping gives, else its section's default, else None."""
    if "name" in mapping:
        return mapping["name"].value
    field = section.model_fields["name"]
    return None if field.is_required() else field.default


def _describe(node: Node) -> str:
    return "a section" if isinstance(node.value, dict) else show(node.value)
