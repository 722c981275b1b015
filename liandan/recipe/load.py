"""Files, plain values and overrides -> one recipe."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import python_config, scalars
from .convert import convert, covers
from .document import TEXT_IN_WORDS, Document, Node, NotPlain, has_surrogates, plant
from .explain import validate
from .faults import Fault, RecipeError, show
from .layers import merge, put
from .read import parse, read_file
from .schema import Recipe
from .shipped import find

Overrides = Mapping[str, Any] | Sequence[str]


def load_recipe(path: str | os.PathLike[str], overrides: Overrides = ()) -> Recipe:
    """The recipe of a file, or of a shipped name such as `image_classification/tiny`. A Python config (`.py`) is read, never run.

    overrides: `["train.batch_size=32"]`, as on the command line, or `{"train.batch_size": 32}`. They are merged over the file in order.
    Raises RecipeError, which lists every fault with its file and line.
    """
    file = find(path)
    if file.suffix.lower() in python_config.SUFFIXES:
        return _of_python_config(file, overrides)
    root = read_file(file, file.name)
    assert isinstance(root.value, dict)
    if "base" in root.value:
        root = _over_base(root, file)
    return _finish(root, overrides, file)


def make_recipe(values: Mapping[str, Any], overrides: Overrides = (), origin: str = "command line") -> Recipe:
    """A recipe of plain values. `origin` is what faults call the place they came from. Raises RecipeError."""
    try:
        root = plant(values, origin)
    except NotPlain as error:
        raise RecipeError([Fault(error.key, origin, error.expected, show(error.value))]) from None
    if not isinstance(root.value, dict):
        raise RecipeError([Fault("", origin, "a mapping of sections", show(values))])
    return _finish(root, overrides, None)


def revise(document: Document, values: Mapping[str, Any], origin: str) -> Recipe:
    """The recipe of a document with other values at some dotted keys."""
    return validate(Document.of(_override(document.node(), _planted(values, origin)), document.path, document.notes))


def read_value(text: str, origin: str) -> Any:
    """The plain value that `text` is behind the `=` of an override. Raises RecipeError."""
    return Document.of(_value(text, origin)).values


def _of_python_config(file: Path, overrides: Overrides) -> Recipe:
    """The recipe a Python config stands for. A fault of the conversion is none where an override says what the recipe shall have."""
    given = _given(overrides)
    converted = convert(python_config.read_python_config(file), file.name, [key for key, _ in given])
    faults = [fault for fault in converted.faults if not any(covers(key, fault.key) for key, _ in given)]
    document = Document.of(_override(converted.root, given), file, converted.notes)
    if not faults:
        return validate(document)
    try:
        further, rest = [], validate(document)
    except RecipeError as error:
        told = {fault.key for fault in faults}
        further, rest = [fault for fault in error.faults if fault.key not in told], error.rest
    raise RecipeError([*faults, *further], rest)


def _finish(root: Node, overrides: Overrides, path: Path | None) -> Recipe:
    return validate(Document.of(_override(root, _given(overrides)), path))


def _given(overrides: Overrides) -> list[tuple[str, Node]]:
    return _planted(overrides, "overrides") if isinstance(overrides, Mapping) else _parsed(overrides)


def _over_base(root: Node, file: Path) -> Node:
    """A recipe over the one it names as its base: one level, so that two files are all there is to read."""
    assert isinstance(root.value, dict)
    named = root.value["base"]
    rest = Node({name: child for name, child in root.value.items() if name != "base"}, root.where)
    if named.value is None:
        return rest
    if not isinstance(named.value, str) or not named.value:
        raise RecipeError([Fault("base", named.where, "the path of a recipe, relative to this file", show(named.value))])
    try:
        path = find(named.value, folder=file.parent)
        base = read_file(path, named.value)
    except RecipeError as error:
        # The mistake is as likely in the line that names the base as in the base.
        raise RecipeError([_blame(fault, named) for fault in error.faults]) from None
    assert isinstance(base.value, dict)
    if "base" in base.value:
        further = base.value["base"]
        hint = f"{file.name} may name only a recipe that stands on its own"
        raise RecipeError([Fault("base", further.where, "a base that has no base itself", show(further.value), hint)])
    return merge(base, rest)


def _blame(fault: Fault, named: Node) -> Fault:
    about_the_path = fault.where == named.value and not fault.key
    return Fault("base", named.where, fault.expected, fault.received, fault.hint) if about_the_path else fault


def _override(root: Node, given: Sequence[tuple[str, Node]]) -> Node:
    faults: list[Fault] = []
    for key, value in given:
        try:
            root = put(root, key, value)
        except RecipeError as error:
            faults += error.faults
    if faults:
        raise RecipeError(faults)
    return root


def _planted(values: Mapping[str, Any], origin: str) -> list[tuple[str, Node]]:
    given: list[tuple[str, Node]] = []
    faults: list[Fault] = []
    for key, value in values.items():
        try:
            given.append((key, plant(value, origin)))
        except NotPlain as error:
            faults.append(Fault(f"{key}.{error.key}".rstrip("."), origin, error.expected, show(error.value)))
    if faults:
        raise RecipeError(faults)
    return given


def _parsed(pairs: Sequence[str], origin: str = "command line") -> list[tuple[str, Node]]:
    if isinstance(pairs, str):  # a Sequence[str] as well, of letters
        pairs = [pairs]
    given: list[tuple[str, Node]] = []
    faults: list[Fault] = []
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            faults.append(Fault("", origin, "key=value, such as train.batch_size=32", show(pair)))
            continue
        try:
            given.append((key.strip(), _value(text.strip(), origin)))
        except RecipeError as error:
            faults += [Fault(key, origin, fault.expected, fault.received, fault.hint) for fault in error.faults]
    if faults:
        raise RecipeError(faults)
    return given


def _value(text: str, origin: str) -> Node:
    """The value of `key=value`. Brackets and quotes are read as YAML; any other text is one scalar, so that `C:\\photos #1` is a path."""
    if text[:1] in ("[", "{", '"', "'"):
        node = parse(text, origin, lines=False)
        return Node(None, origin) if node is None else node
    if has_surrogates(text):
        raise RecipeError([Fault("", origin, TEXT_IN_WORDS, show(text))])
    return Node(scalars.resolve(text), origin)
