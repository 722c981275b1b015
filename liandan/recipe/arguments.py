"""Keyword arguments of a recipe against the signature that will receive them, before anything is built or downloaded."""

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from .document import Document, join
from .faults import Fault, did_you_mean, one_of
from .schema import fields_at


def check_arguments(
    arguments: Mapping[str, Any], signature: inspect.Signature, key: str, document: Document | None = None, skip: Collection[str] = ()
) -> list[Fault]:
    """Faults of keyword arguments against the signature of what will receive them, found before it is called.

    arguments: what the recipe gives (`recipe.optimizer.arguments`). key: the section they stand in (`optimizer`), for the fault's place.
    skip: parameters that the caller fills itself (`params` of an optimizer): neither missing nor allowed in the recipe.
    A signature with `**kwargs` accepts every name; then only missing ones can be seen.
    """
    keyword = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    parameters = {p.name: p for p in signature.parameters.values() if p.kind in keyword and p.name not in skip}
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values())
    document = document or Document({}, {})
    own = fields_at(key)  # `wieghts` beside model.name is a misspelled key of the section, not an argument
    faults = []
    for name in arguments:
        if name in parameters or (open_ended and name not in skip):
            continue
        place = join(key, name)
        faults.append(Fault(place, document.where(place), one_of(parameters), name, did_you_mean(name, [*parameters, *own])))
    for name, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and name not in arguments:
            place = join(key, name)
            faults.append(Fault(place, document.where(place), f"a value for {name}, which has no default", "nothing"))
    return faults
