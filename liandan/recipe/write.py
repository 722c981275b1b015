"""Recipes as text: YAML, JSON schema, differences."""

from collections.abc import Iterator, Mapping
from typing import Any

from . import scalars
from .document import join
from .schema import Recipe, description_of, thaw

ABSENT = "(absent)"  # the value of a key that one of two recipes does not have


def to_yaml(recipe: Recipe | Mapping[str, Any], describe: bool = False) -> str:
    """Every value, defaults included, in the order of the schema; `load_recipe` reads back an equal recipe.

    describe: write above each key what it means, as a comment.
    """
    return _text(_values(recipe), describe)


def in_short(recipe: Recipe) -> str:
    """What differs from the defaults, for people to read; `load_recipe` reads back an equal recipe."""
    return _text({"version": recipe.version, **thaw(recipe.model_dump(exclude_defaults=True))})


def _text(values: Mapping[str, Any], describe: bool = False) -> str:
    return "".join(f"{line}\n" for line in _lines(values, "", "", describe))


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a recipe file, for editors that complete and check YAML."""
    schema = Recipe.model_json_schema()
    base = {"type": "string", "description": "a recipe that this one changes: a path relative to this file, or the name of a shipped one"}
    schema["properties"] = {"base": base, **schema["properties"]}
    # What a base gives need not be given again, and an editor cannot see the base: only a recipe without one must be complete.
    schema["anyOf"] = [{"required": ["base"]}, {"required": schema.pop("required")}]
    for definition in schema["$defs"].values():
        definition.pop("required", None)
        for variant in definition.get("anyOf", ()):
            variant.pop("required", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def diff(a: Recipe | Mapping[str, Any], b: Recipe | Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(dotted key, value in `a`, value in `b`) wherever they differ. A list is one value; a key that is not there has the value ABSENT."""
    return list(_differences(_values(a), _values(b), ""))


def _values(recipe: Recipe | Mapping[str, Any]) -> dict[str, Any]:
    return recipe.values() if isinstance(recipe, Recipe) else thaw(dict(recipe))


def _differences(a: Mapping[str, Any], b: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any, Any]]:
    for name in dict.fromkeys([*a, *b]):
        place = join(key, name)
        old, new = a.get(name, ABSENT), b.get(name, ABSENT)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, place)
        elif old != new or isinstance(old, bool) is not isinstance(new, bool):  # True == 1
            yield place, old, new


def _lines(values: Mapping[str, Any], key: str, indent: str, describe: bool) -> Iterator[str]:
    for name, value in values.items():
        place = join(key, name)
        if describe and (description := description_of(place)):
            yield f"{indent}# {description}"
        head = f"{indent}{scalars.write(name)}:"
        if isinstance(value, Mapping) and value:
            yield head
            yield from _lines(value, place, indent + "  ", describe)
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield head
            yield from (f"{indent}  - {_flow(item)}" for item in value)
        else:
            yield f"{head} {_flow(value)}"


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalars.write(name)}: {_flow(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return scalars.write(value)
