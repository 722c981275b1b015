"""Python config files, read and never run: their text is parsed with `ast`, and what plain values it states are worked out here.

A config of this kind is assignments of literals: numbers, text, lists, tuples, dicts, `dict(...)`, arithmetic on numbers, names
assigned above, their subscripts and slices, unpacking with * and **, `round(...)`, and a comprehension over such a list. Everything
else (an import, any other call, an attribute, a loop, a condition, a function) is a fault with its line. Sizes, depth and magnitudes
are limited while values are made, so that no file can make this slow or large.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from .document import KEY_IN_WORDS, MAX_DEPTH, MAX_KEY, MAX_VALUES, TEXT_IN_WORDS, Node, has_surrogates
from .faults import MAX_FAULTS, Fault, RecipeError, did_you_mean, show
from .read import file_text

SUFFIXES = (".py",)
NAMES = ("model_cfg", "train_pipeline", "val_pipeline", "data_cfg", "lr_config", "optimizer_cfg")  # what a config must assign

MAX_NUMBER = 10**18  # no argument of a recipe is larger
MAX_TEXT = 10_000  # characters
MAX_WORK = 200_000  # items and characters made on the way, all together
MAX_EXPONENT = 1_000
MAX_DIGITS = 20  # that round() is asked for

_EXPECTED = "a plain value: literals, names assigned above, arithmetic, dict(), round(), unpacking, subscripts"
_NEVER_RUN = "nothing in a config is run; write the value itself"
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
_IN_WORDS: dict[type[ast.AST], str] = {
    ast.Import: "an import", ast.ImportFrom: "an import", ast.FunctionDef: "a function", ast.ClassDef: "a class", ast.For: "a loop",
    ast.While: "a loop", ast.If: "a condition", ast.With: "a with statement", ast.AugAssign: "a change of a value in place",
    ast.Delete: "a del statement", ast.Lambda: "a lambda", ast.IfExp: "a condition", ast.JoinedStr: "an f-string",
    ast.Compare: "a comparison", ast.BoolOp: "and/or", ast.Attribute: "an attribute", ast.NamedExpr: "an assignment inside a value",
    ast.Try: "a try statement", ast.Assert: "an assertion", ast.Raise: "a raise statement",
}  # fmt: skip


class _Refused(Exception):
    """One statement that cannot be read; the fault says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


def read_python_config(path: Path) -> dict[str, Node]:
    """Everything a config file assigns, by name; each value remembers its line. The file is not run.

    Raises:
        RecipeError: with every fault: not Python, not plain values, or one of NAMES not assigned.
    """
    return parse_python_config(file_text(path, path.name, SUFFIXES), path.name)


def parse_python_config(text: str, name: str) -> dict[str, Node]:
    """The same from text; `name` is how faults call the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of '\\d' in text, which is what the text holds
            tree = ast.parse(text)
    except SyntaxError as error:
        hint = "write a path with / or as r'...'" if "unicodeescape" in str(error.msg) else ""
        raise RecipeError([Fault("", f"{name}:{error.lineno or 1}", "Python", (error.msg or "a mistake")[:200], hint)]) from None
    except (ValueError, RecursionError, MemoryError) as error:  # a null byte; thousands of brackets or signs
        raise RecipeError([Fault("", name, f"Python, nested at most {MAX_DEPTH} deep", str(error)[:200] or "deeper nesting")]) from None
    reader = _Reader(name, text)
    for statement in tree.body:
        reader.take(statement)
        if len(reader.faults) >= MAX_FAULTS:
            raise RecipeError(reader.faults)
    reader.check()
    if reader.faults:
        raise RecipeError(reader.faults)
    return reader.names


class _Reader:
    """Works out one statement after the other."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.lines = [line.encode() for line in re.split(r"\r\n|\r|\n", text)]
        self.names: dict[str, Node] = {}
        self.faulty: set[str] = set()  # assigned above by a statement that was refused: told once
        self.faults: list[Fault] = []
        self.work = 0

    def take(self, statement: ast.stmt) -> None:
        targets: list[str] = []
        try:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                return  # a docstring
            value, targets = self.assignment(statement)
            node = self.value(value, 1)
            for target in targets:
                self.names[target] = node
                self.faulty.discard(target)
        except _Refused as refused:
            if refused.fault.expected:
                self.faults.append(refused.fault)
            self.faulty.update(targets)

    def assignment(self, statement: ast.stmt) -> tuple[ast.expr, list[str]]:
        """The value of `name = value`, and its names."""
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            self.refuse(statement, "assignments of plain values: name = value", _words(statement), _NEVER_RUN)
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if len(names) < len(targets):
            hint = "write the value where the name is first assigned, or change it on the command line"
            self.refuse(statement, "name = value", f"{self.written(targets[0])} = ...", hint)
        if hidden := [name for name in names if name in _CALLS]:
            self.refuse(statement, "another name", hidden[0], f"{hidden[0]} would no longer mean Python's own")
        return value, names

    def check(self) -> None:
        """What must be assigned, and how large it may be when names are written out."""
        for name in NAMES:
            if name in self.faulty:
                continue
            if name not in self.names:
                hint = did_you_mean(name, [other for other in self.names if other not in NAMES])
                self.faults.append(Fault(name, self.file, f"{name} = ...", "nothing", hint))
            elif (size := _size(self.names[name], MAX_VALUES)) > MAX_VALUES:
                where = self.names[name].where
                self.faults.append(Fault(name, where, f"at most {MAX_VALUES} values, nested at most {MAX_DEPTH} deep", f"at least {size}"))

    # -- values -------------------------------------------------------------------------------------------------------------
    def value(self, node: ast.expr, depth: int, local: dict[str, Node] | None = None) -> Node:
        """The plain value of an expression. `local`: the name a comprehension binds."""
        if depth > MAX_DEPTH:
            self.refuse(node, f"values nested at most {MAX_DEPTH} deep", "deeper nesting")
        if isinstance(node, ast.Constant):
            return self.made(node, self.constant(node))
        if isinstance(node, ast.Name):
            return self.name(node, local or {})
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return self.made(node, self.items(node.elts, depth, local))
        if isinstance(node, ast.Dict):
            keys = [None if key is None else self.key(key, depth, local) for key in node.keys]
            pairs = list(zip(keys, node.values, strict=True))
            return self.made(node, self.mapping(pairs, depth, local, again=True))
        if isinstance(node, ast.Call):
            return self.call(node, depth, local)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            number = self.number(node.operand, depth, local)
            return self.made(node, -number if isinstance(node.op, ast.USub) else number)
        if isinstance(node, ast.BinOp):
            return self.made(node, self.operation(node, depth, local))
        if isinstance(node, ast.Subscript):
            return self.subscript(node, depth, local)
        if isinstance(node, ast.ListComp):
            return self.made(node, self.comprehension(node, depth, local))
        self.refuse(node, _EXPECTED, _words(node), _NEVER_RUN)

    def constant(self, node: ast.Constant) -> Any:
        value = node.value
        if not (value is None or isinstance(value, bool | int | float | str)):
            self.refuse(node, _EXPECTED, f"a value of type {type(value).__name__}")
        if isinstance(value, str) and has_surrogates(value):
            self.refuse(node, TEXT_IN_WORDS, show(value))
        return value

    def name(self, node: ast.Name, local: dict[str, Node]) -> Node:
        if node.id in local:
            return local[node.id]
        if node.id in self.faulty:
            raise _Refused(Fault("", "", "", ""))  # its own fault is told already
        if node.id not in self.names:
            hint = did_you_mean(node.id, self.names)
            self.refuse(node, "a name assigned above", node.id, hint)
        return self.names[node.id]

    def items(self, nodes: Iterable[ast.expr], depth: int, local: dict[str, Node] | None) -> list[Node]:
        found: list[Node] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                found += self.list_of(node.value, depth + 1, local)
            else:
                found.append(self.value(node, depth + 1, local))
            if len(found) > MAX_VALUES:
                self.refuse(node, f"a list of at most {MAX_VALUES} values", "more")
        return found

    def mapping(
        self, pairs: Iterable[tuple[str | None, ast.expr]], depth: int, local: dict[str, Node] | None, again: bool
    ) -> dict[str, Node]:
        """Keys and values, None for `**`. `again`: a key may come again and replaces what `**` brought, as in {...} but not in dict()."""
        found: dict[str, Node] = {}
        written: set[str] = set()
        for key, node in pairs:
            value = self.value(node, depth + 1, local)
            if key is not None:
                # a key stands where it is written, also when its value was written elsewhere
                brought = {key: Node(value.value, self.where(node))}
            elif isinstance(value.value, dict):
                brought = value.value
            else:
                self.refuse(node, "a dict after **", show(value.value))
            twice = brought.keys() & (written if again else found.keys())
            if twice:
                self.refuse(node, "each key once", f"{min(twice)} again", "keep one of the two")
            written.update(() if key is None else (key,))
            found |= brought
            self.spend(node, len(brought))
        return found

    def key(self, node: ast.expr, depth: int, local: dict[str, Node] | None) -> str:
        value = self.value(node, depth + 1, local).value
        if not isinstance(value, str) or len(value) > MAX_KEY:
            self.refuse(node, KEY_IN_WORDS, show(value))
        return value

    def call(self, node: ast.Call, depth: int, local: dict[str, Node] | None) -> Node:
        if not isinstance(node.func, ast.Name) or node.func.id not in _CALLS:
            self.refuse(node, _EXPECTED, f"a call of {self.written(node.func)}", _NEVER_RUN)
        if node.func.id == "dict":
            if len(node.args) > 1 or any(isinstance(arg, ast.Starred) for arg in node.args):
                self.refuse(node, "dict(key=value, **other)", "dict() of several values")
            pairs = [(None, arg) for arg in node.args] + [(keyword.arg, keyword.value) for keyword in node.keywords]
            return self.made(node, self.mapping(pairs, depth, local, again=False))
        if node.keywords or not 1 <= len(node.args) <= 2:
            self.refuse(node, "round(number) or round(number, digits)")
        number, *digits = (self.number(arg, depth, local) for arg in node.args)
        if digits and not (isinstance(digits[0], int) and abs(digits[0]) <= MAX_DIGITS):
            self.refuse(node, f"round(number, digits) with at most {MAX_DIGITS} digits")
        return self.made(node, round(number, int(digits[0])) if digits else round(number))

    def operation(self, node: ast.BinOp, depth: int, local: dict[str, Node] | None) -> Any:
        left, right = self.value(node.left, depth + 1, local).value, self.value(node.right, depth + 1, local).value
        if isinstance(node.op, ast.Add) and (_both(left, right, list) or _both(left, right, str)):
            return left + right  # pyright: ignore[reportOperatorIssue]
        if isinstance(node.op, ast.Mult) and isinstance(left, list) and _is_whole(right):
            if len(left) * max(0, right) > MAX_VALUES:
                self.refuse(node, f"a list of at most {MAX_VALUES} values")
            return left * right
        if type(node.op) not in _ARITHMETIC or not (_is_number(left) and _is_number(right)):
            self.refuse(node, "arithmetic (+ - * / // % **) on numbers")
        if isinstance(node.op, ast.Pow) and abs(right) > MAX_EXPONENT:
            self.refuse(node, f"an exponent of at most {MAX_EXPONENT}")
        try:
            result = _ARITHMETIC[type(node.op)](left, right)
            if isinstance(result, complex) or not math.isfinite(result):
                self.refuse(node, "a real, finite number")
        except ArithmeticError as error:
            self.refuse(node, "arithmetic that has a result", f"{self.written(node)}: {error}")
        return result

    def subscript(self, node: ast.Subscript, depth: int, local: dict[str, Node] | None) -> Node:
        owner = self.value(node.value, depth + 1, local)
        if isinstance(node.slice, ast.Slice):
            parts = (node.slice.lower, node.slice.upper, node.slice.step)
            bounds: list[Any] = [None if part is None else self.number(part, depth, local) for part in parts]
            if not isinstance(owner.value, list) or any(isinstance(bound, float) for bound in bounds) or bounds[2] == 0:
                self.refuse(node, "a slice of a list")
            return self.made(node, owner.value[slice(*bounds)])
        key = self.value(node.slice, depth + 1, local).value
        try:
            found: Any = owner.value[key]  # pyright: ignore[reportArgumentType, reportCallIssue, reportIndexIssue, reportOptionalSubscript]
        except (KeyError, IndexError, TypeError):
            choices = owner.value if isinstance(owner.value, dict) else ()
            self.refuse(node, "something that is there", hint=did_you_mean(str(key), choices) if isinstance(key, str) else "")
        return found if isinstance(found, Node) else self.made(node, found)

    def comprehension(self, node: ast.ListComp, depth: int, local: dict[str, Node] | None) -> list[Node]:
        """`[value for name in list]`: a value for each item, no condition."""
        generator = node.generators[0]
        if len(node.generators) > 1 or generator.ifs or generator.is_async or not isinstance(generator.target, ast.Name):
            self.refuse(node, "[value for name in list]")
        bound = generator.target.id
        return [self.value(node.elt, depth + 1, {**(local or {}), bound: item}) for item in self.list_of(generator.iter, depth + 1, local)]

    def list_of(self, node: ast.expr, depth: int, local: dict[str, Node] | None) -> list[Node]:
        value = self.value(node, depth, local)
        if not isinstance(value.value, list):
            self.refuse(node, "a list", show(value.value))
        return value.value

    def number(self, node: ast.expr, depth: int, local: dict[str, Node] | None) -> int | float:
        value = self.value(node, depth + 1, local).value
        if not _is_number(value):
            self.refuse(node, "a number", show(value))
        return value

    # -- limits and places --------------------------------------------------------------------------------------------------
    def made(self, node: ast.expr, value: Any) -> Node:
        """A value that was just made, judged by its size."""
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) > MAX_NUMBER:
            self.refuse(node, f"numbers up to {MAX_NUMBER:.0e}")
        if isinstance(value, str) and len(value) > MAX_TEXT:
            self.refuse(node, f"text of at most {MAX_TEXT} characters", f"{len(value)} characters")
        if isinstance(value, list) and len(value) > MAX_VALUES:
            self.refuse(node, f"a list of at most {MAX_VALUES} values", f"{len(value)} values")
        self.spend(node, len(value) if isinstance(value, str | list) else 1)
        return Node(value, self.where(node))

    def spend(self, node: ast.expr, work: int) -> None:
        self.work += work
        if self.work > MAX_WORK:
            self.refuse(node, "a config that states its values", "one that multiplies them without end")

    def written(self, node: ast.AST) -> str:
        """The source of a node, its first line."""
        begin, end = getattr(node, "lineno", 1), getattr(node, "end_lineno", 1)
        line = self.lines[begin - 1][getattr(node, "col_offset", 0) : getattr(node, "end_col_offset", None) if begin == end else None]
        return line.decode(errors="replace")[:60]

    def where(self, node: ast.AST) -> str:
        return f"{self.file}:{getattr(node, 'lineno', 1)}"

    def refuse(self, node: ast.AST, expected: str, received: str | None = None, hint: str = "") -> NoReturn:
        """Give up the statement; `received` is what was written unless told otherwise."""
        raise _Refused(Fault("", self.where(node), expected, self.written(node) if received is None else received, hint))


_CALLS = ("dict", "round")


def _both(left: object, right: object, kind: type) -> bool:
    return isinstance(left, kind) and isinstance(right, kind)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _words(node: ast.AST) -> str:
    return _IN_WORDS.get(type(node), f"{type(node).__name__}")


def plain(node: Node) -> Any:
    """The value without its places."""
    if isinstance(node.value, dict):
        return {name: plain(child) for name, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def _size(node: Node, limit: int, depth: int = 1) -> int:
    """Values beneath a node, those of a name counted wherever it is used; a little above `limit` when there are more, or too deep."""
    if depth > MAX_DEPTH:
        return limit + 1
    children = node.value.values() if isinstance(node.value, dict) else node.value if isinstance(node.value, list) else ()
    size = 1
    for child in children:
        size += _size(child, limit - size, depth + 1)
        if size > limit:
            break
    return size
