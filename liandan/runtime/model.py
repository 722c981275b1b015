"""A recipe's model: built, filled, with its adapter, and what stands frozen beside one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from liandan import models
from liandan.models import ModelError, adapter, packing
from liandan.models.quantize import quantize
from liandan.models.weights import Report, load_weights
from liandan.randomness import mix
from liandan.recipe import Fault, Recipe, RecipeError
from liandan.runtime import weights
from liandan.runtime.device import DTYPES
from liandan.tasks import Task

_INITIAL = 5  # the use of the key that draws initial weights; data.order counts the others
_SEEN = 1e-3  # of the size of hidden states: what rounding never makes of them


def faults(recipe: Recipe) -> list[Fault]:
    """What a recipe says of an adapter and of quantization that cannot be."""
    spec, where, found = recipe.model, recipe.document.where, []
    if spec.adapter is not None and spec.weights == "none":
        hint = "an adapter changes what was learned before: give model.weights, or leave model.adapter out"
        found.append(Fault("model.weights", where("model.adapter"), "trained weights beside an adapter", "none", hint))
    tokens, said = recipe.data.text.tokenizer, "data.text.tokenizer"
    if spec.name.startswith("hf/") and spec.weights == "pretrained" and tokens != "auto":
        hint = "the weights know their own tokens, and new ones mean nothing to them: leave it out, or give auto"
        found.append(Fault(said, where(said), f"auto beside weights of {spec.name}", tokens, hint))
    if spec.quantize is not None and spec.adapter is None:
        hint = "weights of 4 bits do not learn: add model.adapter={name: lora}, or leave model.quantize out"
        found.append(Fault("model.quantize", where("model.quantize"), "null without an adapter", spec.quantize, hint))
    if spec.quantize is not None and recipe.train.precision == "fp64":
        found.append(Fault("train.precision", where("train.precision"), "at most fp32 beside model.quantize", "fp64"))
    return found


def build(
    recipe: Recipe, task: Task, initial: Path | None, note: Callable[[str], None] = lambda text: None
) -> tuple[nn.Module, Report]:
    """The model, told of its data what its builder can be told, with the weights of a local file or folder, if it has any; and what became
    of the file's tensors, which `note` is told too. The model's own initial weights are drawn from the seed alone."""
    name = weights.local(recipe.model.name)
    known = {k: v for k, v in task.model_arguments().items() if models.accepts(name, k)}
    for key, given in recipe.model.arguments.items():
        needed = known.get(key)
        if isinstance(needed, int) and isinstance(given, int) and given < needed:
            where = recipe.document.lines.get(f"model.{key}", "")
            raise RecipeError([Fault(f"model.{key}", where, f"at least {needed}, which the data needs", str(given), "leave it out")])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mix(recipe.seed, _INITIAL))
        model = models.build(name, **{**known, **recipe.model.arguments})
    report = Report()
    if initial is not None:
        report = load_weights(model, initial)
        note(str(report))
    return model, report


def trained(recipe: Recipe, task: Task, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """A run's model with the tensors of its checkpoint; what these leave out, the base of an adapter, comes from where the run began."""
    model, report = build(recipe, task, weights.find(recipe) if recipe.model.adapter is not None else None)
    model = adapted(recipe, model, report)
    model.load_state_dict(tensors)
    return model


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
        torch.manual_seed(mix(recipe.seed, _INITIAL, 1))
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
    hint = ""
    try:
        if getattr(model, "balance", 0.0):
            hint = "a mixture of experts is balanced sequence by sequence, and a packed row would be one"
        elif (seen := packing.contamination(model)) > _SEEN:
            hint = f"in a packed row of this model texts see one another (hidden states move by {seen:.0%})"
    except (TypeError, ValueError, RuntimeError) as error:
        hint = f"this model takes no packed rows: {str(error).partition(chr(10))[0]}"
    if hint:
        raise RecipeError([Fault("data.text.packing", recipe.document.where("data.text.packing"), "false", "true", hint)])
