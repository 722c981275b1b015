"""Adapters that could not learn anything, quantization without one and tokens unknown to the weights are told before anything is read."""

from __future__ import annotations

import pytest

from liandan.engine import session
from liandan.recipe import RecipeError, find, load_recipe


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.adapter={name: lora}"], "trained weights beside an adapter"),
        (["model.quantize=nf4"], "add model.adapter"),
        (["model.quantize=nf4", "model.adapter={name: lora}", "model.weights=run:first", "train.precision=fp64"], "at most fp32"),
        (["model.name=hf/somewhere", "model.weights=pretrained"], "the weights know their own tokens"),  # sft/tiny learns tokens of its own
    ],
)
def test_what_cannot_be_is_a_fault(overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        session.check(load_recipe(find("sft/tiny"), overrides))


def test_packing_is_for_conversations() -> None:
    with pytest.raises(RecipeError, match="no conversations that could share a row"):
        session.check(load_recipe(find("language_model/tiny"), ["data.text.packing=true"]))
