"""A recipe's adapter and what stands frozen beside it."""

from __future__ import annotations

import torch
from torch import nn

from liandan.models import ModelError, adapter, packing
from liandan.models.quantize import quantize
from liandan.models.weights import Report
from liandan.randomness import mix
from liandan.recipe import Fault, Recipe, RecipeError
from liandan.runtime.device import DTYPES

INITIAL = 5  # the use of the key that draws initial weights; data.order counts the others
_SEEN = 1e-3  # of the size of hidden states: what rounding never makes of them


def faults(recipe: Recipe) -> list[Fault]:
    """What a recipe says of an adapter and of quantization that cannot be."""
    spec, where, found = recipe.model, recipe.document.where, []
    if spec.adapter is not None and spec.weights == "none":
        hint = "an adapter changes what was learned before: give model.weights, or leave model.adapter out"
        found.append(Fault("model.weights", where("model.adapter"), "trained weights beside an adapter", "none", hint))
    if spec.quantize is not None and spec.adapter is None:
        hint = "weights of 4 bits do not learn: add model.adapter={name: lora}, or leave model.quantize out"
        found.append(Fault("model.quantize", where("model.quantize"), "null without an adapter", spec.quantize, hint))
    if spec.quantize is not None and recipe.train.precision == "fp64":
        found.append(Fault("train.precision", where("train.precision"), "at most fp32 beside model.quantize", "fp64"))
    return found


def adapted(recipe: Recipe, model: nn.Module, loaded: Report) -> nn.Module:
    """The model with the recipe's adapter, if it has one, whose initial weights are drawn from the seed alone.

    Args:
        recipe: its precision is decided.
        loaded: what became of the model's own weights.

    Raises:
        RecipeError: they cannot be quantized here.
    """
    spec, key = recipe.model, "model.quantize"
    if spec.adapter is None:
        return model
    if spec.quantize is not None:
        try:
            quantize(model, adapter.linear_layers(model), computed_in(recipe) or torch.float32)
        except ModelError as error:
            raise RecipeError([Fault(key, recipe.document.where(key), "null on this machine", spec.quantize, str(error))]) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(recipe.seed, INITIAL, 1))
        return adapter.adapt(model, spec.adapter.name, spec.adapter.arguments, loaded.fresh)


def held(recipe: Recipe, model: nn.Module) -> nn.Module:
    """The model with what is frozen beside an adapter in the type it computes with; see `adapter.hold`."""
    dtype = computed_in(recipe)
    return model if recipe.model.adapter is None or dtype is None else adapter.hold(model, dtype)


def computed_in(recipe: Recipe) -> torch.dtype | None:
    """The type that autocast gives linear layers; None without autocast."""
    return DTYPES[recipe.train.precision] if recipe.train.precision in ("bf16", "fp16") else None


def check_packing(recipe: Recipe, model: nn.Module) -> None:
    """Raise RecipeError where data.text.packing is asked for and the model lets texts of a row see one another. Tried, not looked up."""
    if not recipe.data.text.packing:
        return
    try:
        seen = packing.contamination(model)
        hint = "" if seen < _SEEN else f"in a packed row of this model texts see one another (hidden states move by {seen:.0%})"
    except (TypeError, ValueError, RuntimeError) as error:
        hint = f"this model takes no packed rows: {str(error).partition(chr(10))[0]}"
    if hint:
        raise RecipeError([Fault("data.text.packing", recipe.document.where("data.text.packing"), "false", "true", hint)])
