"""pydantic's findings as faults: in the recipe's words, with file and line, and with the name that was probably meant."""

import copy
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from . import scalars
from .document import Document, join
from .faults import Fault, RecipeError, did_you_mean, nearest, one_of, show
from .schema import TAGS, Open, Recipe, Section, fields_at, sections_below

_SAID_YES_OR_NO = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def validate(document: Document) -> Recipe:
    """The recipe of a document. Raises RecipeError with all its faults."""
    try:
        recipe = Recipe.model_validate(document.values)
    except ValidationError as error:
        faults = _faults(error, document)
        raise RecipeError(faults, _without(document, {fault.key for fault in faults})) from None
    recipe._document = document
    return recipe


def _without(document: Document, keys: set[str]) -> Recipe | None:
    """What stays of a recipe without its faulty keys, so that the rest can be judged in the same breath; None when nothing usable does."""
    values = copy.deepcopy(document.values)
    for key in keys:
        *path, last = key.split(".")
        section: Any = values
        for part in path:
            section = section.get(part) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section.pop(last, None)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError:
        return None
    recipe._document = document
    return recipe


def _faults(error: ValidationError, document: Document) -> list[Fault]:
    return sorted((_fault(found, document) for found in error.errors(include_url=False)), key=_reading_order)


def _reading_order(fault: Fault) -> tuple[str, int]:
    file, _, line = fault.where.rpartition(":")
    return (file, int(line)) if line.isdecimal() else (fault.where, 0)


def _fault(found: ErrorDetails, document: Document) -> Fault:
    context: dict[str, Any] = found.get("ctx", {})
    value = found["input"]
    key, sections = _place(found["loc"])
    kind = found["type"]
    if kind == "extra_forbidden":
        return _unknown(str(found["loc"][-1]), key, sections, document)
    if kind == "missing":
        return _missing(key, str(found["loc"][-1]), document)
    if kind == "section":  # a rule about several keys of one section
        key = join(key, context["key"]) if "key" in context else key
        return Fault(key, document.where(key), context["expected"], context["received"])
    if kind == "argument_name":
        hint = "nothing in a recipe is run or imported; write a name of its table under name" if str(value).startswith("_") else ""
        return Fault(key, document.where(key), context["expected"], str(value), hint)
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return Fault(key, document.where(key), _section_in_words(sections), show(value), _section_hint(value, sections))
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"]) or [context["expected"]]
        expected = choices[0] if len(choices) == 1 else one_of(choices)
        return Fault(key, document.where(key), expected, show(value), _value_hint(value, expected, choices))
    expected = context.get("expected") or {"tuple_type": "a list", "none_required": "null"}.get(kind, str(found["msg"]))
    return Fault(key, document.where(key), expected, show(value), _value_hint(value, expected, ["auto"] if "auto" in expected else []))


def _place(location: tuple[int | str, ...]) -> tuple[str, tuple[type[Section], ...]]:
    """The dotted key of one of pydantic's locations, and the sections the schema has there (for an unknown key: those around it)."""
    key = ""
    sections: tuple[type[Section], ...] = (Recipe,)
    for i, part in enumerate(location):
        if isinstance(part, int):
            key += f"[{part}]"
        elif part in TAGS:
            sections = tuple(section for section in sections if f"({section.__name__})" == part) or sections
        elif part != "[key]":
            key = join(key, part)
            last = i == len(location) - 1
            sections = sections_below(sections, part) or (sections if last else ())
    return key, sections


def _unknown(name: str, key: str, sections: tuple[type[Section], ...], document: Document) -> Fault:
    choices = _keys(sections)
    section = key[: -len(name)].rstrip(".")
    hint = did_you_mean(name, choices)
    if not hint and "." in name:
        hint = f"a dotted key belongs on the command line; in a file write {name.replace('.', ': {')}: ...{'}' * name.count('.')}"
    if not hint and (elsewhere := _elsewhere(name, section)):
        hint = f'did you mean "{elsewhere}"?'
    if not section and name == "base":
        hint = "base has a meaning only in a recipe file that is itself no base"
    return Fault(key, document.where(key), one_of(choices), name, hint)


def _missing(key: str, name: str, document: Document) -> Fault:
    field = fields_at(key[: -len(name)].rstrip(".")).get(name)
    expected = field.description.split(";")[0] if field and field.description else name
    hint = f"for example {name}: {field.examples[0]}" if field and field.examples else ""
    return Fault(key, document.where(key), expected, "nothing", hint)


def _keys(sections: tuple[type[Section], ...]) -> list[str]:
    return list(dict.fromkeys(name for section in sections for name in section.model_fields))


def _section_in_words(sections: tuple[type[Section], ...]) -> str:
    shorthand = next((f"text (its {section.shorthand}), or " for section in sections if section.shorthand), "")
    arguments = " and keyword arguments" if any(issubclass(section, Open) for section in sections) else ""
    return f"{shorthand}a section with keys {', '.join(_keys(sections))}{arguments}"


def _section_hint(value: object, sections: tuple[type[Section], ...]) -> str:
    keys = _keys(sections)
    if isinstance(value, str):
        required = [name for section in sections for name, field in section.model_fields.items() if field.is_required()]
        name = "name" if "name" in keys else required[0] if len(required) == 1 else ""
        return f"write {{{name}: {scalars.write(value[:60])}}}" if name else ""
    if isinstance(value, int | float) and not isinstance(value, bool) and {"epochs", "steps"} <= set(keys):
        return f"write {{epochs: {value}}} or {{steps: {value}}}"
    return ""


def _value_hint(value: object, expected: str, choices: list[str]) -> str:
    if isinstance(value, str):
        if expected == "a list":
            return f"write [{scalars.write(value[:60])}]"
        if "true" in expected and value.lower() in _SAID_YES_OR_NO:
            return f"YAML 1.2 writes {_SAID_YES_OR_NO[value.lower()]}"
        if "number" in expected and isinstance(scalars.resolve(value), int | float):
            return "remove the quotes"
        name = nearest(value, choices)
        return f'did you mean "{name}"?' if name and name != value else ""
    if isinstance(value, float) and "whole number" in expected and value.is_integer() and abs(value) < 1e15:
        return f"write {int(value)}"
    if expected == "text" and isinstance(value, bool | int | float):
        return f"write {scalars.quote(scalars.write(value))}"
    return ""


def _elsewhere(name: str, section: str) -> str | None:
    """The place of a key that stands in the wrong section; one below `section` before any other."""
    places = [place for place in _places() if place.rpartition(".")[2] == name]
    return next((place for place in places if place.startswith(section + ".")), places[0] if places else None)


@cache
def _places() -> tuple[str, ...]:
    """Every dotted key of a recipe that only says what it must, and of the sections that are null in it."""
    minimal = {"task": "t", "data": {"train": "t"}, "model": {"name": "m"}}
    written = list(_leaves(Recipe.model_validate(minimal).values(), ""))
    return tuple(dict.fromkeys([*written, *_schema_leaves((Recipe,), "")]))


def _leaves(values: dict[str, Any], key: str) -> Iterator[str]:
    for name, value in values.items():
        yield join(key, name)
        if isinstance(value, dict):
            yield from _leaves(value, join(key, name))


def _schema_leaves(sections: tuple[type[Section], ...], key: str) -> Iterator[str]:
    for section in sections:
        for name in section.model_fields:
            yield join(key, name)
            yield from _schema_leaves(sections_below((section,), name), join(key, name))
