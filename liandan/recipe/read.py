"""YAML text -> a tree of plain values, each with its file and line.

The tree is built here from the parser's events, with a stack instead of recursion. So nothing is ever constructed: there is no class a tag
could name, no interpolation, no import; nesting and aliases are counted while they are read and a bomb ends after its fifty-first level.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import scalars
from .document import KEY_IN_WORDS, MAX_DEPTH, MAX_KEY, MAX_VALUES, TEXT_IN_WORDS, Node, has_surrogates, join
from .faults import Fault, RecipeError, show

MAX_BYTES = 128 * 1024  # a long recipe has 10 kB; the YAML scanner takes quadratic time for a line that is one long tag
SUFFIXES = (".yaml", ".yml")

_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_HINTS = (
    ("\\t", "indent with spaces, not with tabs"),
    ("mapping values are not allowed", "check the indentation; text that holds a colon and a space needs quotes"),
    ("cannot start any token", "text that begins with this character needs quotes"),
    ("expected ',' or", "close the bracket, and put commas between its values"),
    ("could not find expected ':'", "a key needs a colon and a space after it"),
    ("expected <block end>", "check the indentation: keys of one section begin in one column"),
    ("special characters are not allowed", "remove the control character"),
)


def read_file(path: Path, name: str) -> Node:
    """The tree of a recipe file. `name` is how faults call the file. Raises RecipeError: not YAML, not a file, too large, not UTF-8."""
    return read_text(file_text(path, name, SUFFIXES), name)


def file_text(path: Path, name: str, suffixes: tuple[str, ...]) -> str:
    """The text of a file that ends in one of `suffixes`. `name` is how faults call it. Raises RecipeError."""
    expected = f"a recipe: a file that ends in {' or '.join(suffixes)}"
    if path.is_dir():
        raise RecipeError([Fault("", name, expected, "a folder")])
    if path.suffix.lower() not in suffixes:
        raise RecipeError([Fault("", name, expected, f"a file that ends in {path.suffix}" if path.suffix else "a file without an ending")])
    if not path.exists():
        raise RecipeError([Fault("", name, expected, f"no file at {path}")])
    if not path.is_file():  # a pipe or a device would be waited for, for ever
        raise RecipeError([Fault("", name, expected, "something that is not a regular file")])
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError([Fault("", name, "a file that can be read", error.strerror or str(error))]) from error
    if len(data) > MAX_BYTES:
        raise RecipeError([Fault("", name, f"a recipe of at most {MAX_BYTES // 1024} kB", f"{path.stat().st_size / 1024:.0f} kB")])
    return _decode(data, name)


def read_text(text: str, name: str) -> Node:
    """The tree of a recipe's text; its root is a mapping. Raises RecipeError with every fault that could be found before the schema."""
    root = parse(text, name)
    if root is None:
        raise RecipeError([Fault("", name, "a mapping of sections: task, data, model, ...", "an empty file")])
    if not isinstance(root.value, dict):
        raise RecipeError([Fault("", root.where, "a mapping of sections: task, data, model, ...", show(root.value))])
    return Node(root.value, name)


def parse(text: str, name: str, lines: bool = True) -> Node | None:
    """Any one YAML value, None for an empty text. With `lines` each place is `name:line`, otherwise `name`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    builder = _Builder(name, lines)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise RecipeError([_syntax(error.problem or "a mistake", builder.place(mark) if mark else name)]) from error
    except (YAMLError, ValueError, OverflowError) as error:  # the scanner leaves some mistakes to Python: "\UFFFFFFFF"
        if isinstance(error, RecipeError):
            raise
        position = getattr(error, "position", None)
        where = f"{name}:{text.count(chr(10), 0, position) + 1}" if lines and isinstance(position, int) else name
        raise RecipeError([_syntax(str(getattr(error, "reason", error)), where)]) from error
    if builder.faults:
        raise RecipeError(builder.faults)
    return builder.root


def _syntax(problem: str, where: str) -> Fault:
    hint = next((hint for sign, hint in _HINTS if sign in problem), "")
    return Fault("", where, "YAML", problem[:200], hint)


def _decode(data: bytes, name: str) -> str:
    encoding = next((encoding for bom, encoding in _BOMS if data.startswith(bom)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "save the file as UTF-8 (it may be in GBK, or in the code page of a Windows editor)"
        raise RecipeError([Fault("", f"{name}:{line}", "text in UTF-8", f"the byte 0x{data[error.start]:02x}", hint)]) from error


@dataclass
class _Frame:
    """A list or a mapping that is being read."""

    key: str  # dotted
    where: str
    anchor: str | None
    items: "list[Node] | dict[str, Node]"
    pending: "tuple[str, str] | None" = None  # a mapping's key that waits for its value, and where the key stands
    size: int = 1
    height: int = 1


@dataclass
class _Builder:
    """Takes the parser's events and grows the tree."""

    name: str
    lines: bool
    root: Node | None = None
    faults: list[Fault] = field(default_factory=list)
    stack: list[_Frame] = field(default_factory=list)
    anchors: dict[str, tuple[Node, int, int]] = field(default_factory=dict)  # name -> node, number of its values, its depth
    open_anchors: set[str] = field(default_factory=set)
    values: int = 0

    def place(self, mark: Any) -> str:
        return f"{self.name}:{mark.line + 1}" if self.lines else self.name

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "DocumentStartEvent":
            self._document(event)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            self._open(event, {} if kind == "MappingStartEvent" else [])
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            self._close()
        elif kind == "ScalarEvent":
            self._scalar(event)
        elif kind == "AliasEvent":
            self._alias(event)

    def _document(self, event: Any) -> None:
        where = self.place(event.start_mark)
        if self.root is not None:
            self._stop("", where, "one document", "a second document, begun by ---")
        if event.version is not None and tuple(event.version) != (1, 2):
            self._stop("", where, "YAML 1.2", f"%YAML {'.'.join(str(part) for part in event.version)}", "remove the %YAML line")

    def _open(self, event: Any, items: "list[Node] | dict[str, Node]") -> None:
        where = self.place(event.start_mark)
        key, where = self._next_key(where)
        if self._wants_key():
            self._stop(key, where, KEY_IN_WORDS, "a list or a mapping")
        self._judge_tag(event, key, where)
        self._count(1, len(self.stack) + 1, key, where)
        if event.anchor:
            self.anchors.pop(event.anchor, None)
            self.open_anchors.add(event.anchor)
        self.stack.append(_Frame(key, where, event.anchor, items))

    def _close(self) -> None:
        frame = self.stack.pop()
        node = Node(frame.items, frame.where)
        if frame.anchor:
            self.open_anchors.discard(frame.anchor)
            self.anchors[frame.anchor] = (node, frame.size, frame.height)
        self._put(node, frame.size, frame.height)

    def _scalar(self, event: Any) -> None:
        where = self.place(event.start_mark)
        value = event.value if event.style in ("'", '"', "|", ">") else scalars.resolve(event.value)
        if self._wants_key():
            self._key(event, value, where)
            return
        key, where = self._next_key(where)
        self._judge_tag(event, key, where)
        if isinstance(value, str) and has_surrogates(value):
            self.faults.append(Fault(key, where, TEXT_IN_WORDS, show(value)))
        self._count(1, len(self.stack), key, where)
        node = Node(value, where)
        if event.anchor:
            self.anchors[event.anchor] = (node, 1, 0)
        self._put(node, 1, 0)

    def _alias(self, event: Any) -> None:
        where = self.place(event.start_mark)
        if self._wants_key():
            self._stop(self.stack[-1].key, where, KEY_IN_WORDS, f"an alias, *{event.anchor}")
        key, where = self._next_key(where)
        if event.anchor in self.open_anchors:
            self._stop(key, where, "an alias of a finished value", f"*{event.anchor}, which would hold itself")
        if event.anchor not in self.anchors:
            self._stop(key, where, "an alias of a value that stands above it", f"*{event.anchor}, which does not")
        node, size, height = self.anchors[event.anchor]
        self._count(size, len(self.stack) + height, key, where)
        self._put(Node(node.value, where), size, height)

    def _key(self, event: Any, value: scalars.Scalar, where: str) -> None:
        frame = self.stack[-1]
        assert isinstance(frame.items, dict)
        text = str(event.value)
        key = join(frame.key, text)
        self._judge_tag(event, key, where)
        self._count(0, len(self.stack), key, where)
        if not isinstance(value, str):
            self.faults.append(Fault(frame.key, where, KEY_IN_WORDS, show(value), f"write {scalars.quote(text)}"))
        elif len(text) > MAX_KEY or has_surrogates(text):
            self.faults.append(Fault(frame.key, where, KEY_IN_WORDS, show(value)))
        elif text == "<<":
            hint = "write the keys out, or put them in a file and name it as base"
            self.faults.append(Fault(key, where, "a key", "<<, which YAML 1.2 does not have", hint))
        elif text in frame.items:
            first = frame.items[text].where
            self.faults.append(Fault(key, where, "each key once", f"{text} again, first written at {first}", "keep one of the two"))
        frame.pending = (text, where)

    def _wants_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].items, dict) and self.stack[-1].pending is None

    def _next_key(self, where: str) -> tuple[str, str]:
        """The dotted key of the value that comes, and where it is said to stand: a mapping's value stands where its key does."""
        if not self.stack:
            return "", where
        frame = self.stack[-1]
        if isinstance(frame.items, list):
            return f"{frame.key}[{len(frame.items)}]", where
        if frame.pending is None:
            return frame.key, where
        return join(frame.key, frame.pending[0]), frame.pending[1]

    def _put(self, node: Node, size: int, height: int) -> None:
        if not self.stack:
            self.root = node
            return
        frame = self.stack[-1]
        frame.size += size
        frame.height = max(frame.height, height + 1)
        if isinstance(frame.items, list):
            frame.items.append(node)
            return
        assert frame.pending is not None
        frame.items.setdefault(frame.pending[0], node)
        frame.pending = None

    def _count(self, size: int, depth: int, key: str, where: str) -> None:
        self.values += size
        if depth > MAX_DEPTH:
            self._stop("", where, f"values nested at most {MAX_DEPTH} deep", "deeper nesting")
        if self.values > MAX_VALUES:
            self._stop("", where, f"at most {MAX_VALUES} values, those of aliases counted each time", "more")

    def _judge_tag(self, event: Any, key: str, where: str) -> None:
        if event.tag is not None:
            hint = "remove the tag: a recipe is text, numbers, lists and mappings, and nothing in it is ever run"
            self.faults.append(Fault(key, where, "a plain value", f"the tag {_short_tag(str(event.tag))}", hint))

    def _stop(self, key: str, where: str, expected: str, received: str, hint: str = "") -> None:
        raise RecipeError([*self.faults, Fault(key, where, expected, received, hint)])


def _short_tag(tag: str) -> str:
    return re.sub(r"^tag:yaml\.org,2002:", "!!", tag)[:60]
