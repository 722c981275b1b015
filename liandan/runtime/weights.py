"""Where a recipe's model.weights lie on this machine: a file, another run, a model's folder, or a model library's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from liandan import sources
from liandan.models.pretrained import published
from liandan.recipe import Fault, Recipe, RecipeError
from liandan.runs import layout as layouts
from liandan.runs import store


def here(model: str) -> bool:
    """Whether a model's pretrained weights are on this machine already. Asks no network."""
    where = published(model)
    return where is not None and sources.cached(*where) is not None


_RUN = "run:"
FOLDER = "hf/"  # a model that is a folder, with its weights in it
_SOURCE = "source:"  # which is an entry of `liandan model list`


def located(recipe: Recipe) -> Recipe:
    """The recipe with a model's folder where `hf/source:<name>` names an entry of the catalogue of sources, which is fetched first."""
    named = recipe.model.name.removeprefix(FOLDER)
    if not (recipe.model.name.startswith(FOLDER) and named.startswith(_SOURCE)):
        return recipe
    name, _, inside = named.removeprefix(_SOURCE).partition("/")
    return recipe.with_values({"model.name": f"{FOLDER}{sources.get(name) / inside}"})


def find(recipe: Recipe) -> Path | None:
    """The local file (or folder) of the recipe's initial weights; None for `none`.

    Raises:
        RecipeError: the file or run is not there.
        sources.SourceError: the weights are not on this machine and could not be fetched; says what was tried.
    """
    recipe, wanted = located(recipe), recipe.model.weights
    if wanted == "none":
        return None
    if wanted == "pretrained" and recipe.model.name.startswith(FOLDER):
        return Path(recipe.model.name.removeprefix(FOLDER))
    if wanted == "pretrained":
        where = published(recipe.model.name)
        if where is None:
            raise _fault(recipe, "a model that has published weights", f"{recipe.model.name} has none; use model.weights=none or a file")
        return sources.hub_file(*where)
    if wanted.startswith(_RUN):
        layout = layouts.find(wanted.removeprefix(_RUN))
        pointer = store.read_pointer(layout.best) or store.read_pointer(layout.last)
        if pointer is None:
            raise _fault(recipe, "a run with a checkpoint", f"{layout.root} has none")
        return layout.checkpoints / pointer["checkpoint"] / "model.safetensors"
    path = Path(wanted)
    if not path.is_file() and not (path.is_dir() and any(path.glob("*.safetensors"))):
        raise _fault(
            recipe,
            "none, pretrained, run:<run>, or the path of a weights file",
            f"there is no file {path}; check the path, or use model.weights=none to start from scratch",
        )
    return path


def preprocessing(recipe: Recipe) -> dict[str, Any]:
    """What a run that lends its weights lends besides: {"tokenizer": JSON} of a language model, else {}."""
    if not recipe.model.weights.startswith(_RUN):
        return {}
    kept = store.read_json(layouts.find(recipe.model.weights.removeprefix(_RUN)).preprocessing)
    return {"tokenizer": kept["tokenizer"]} if kept.get("tokenizer") else {}


def _fault(recipe: Recipe, expected: str, hint: str) -> RecipeError:
    return RecipeError([Fault("model.weights", recipe.document.lines.get("model.weights", ""), expected, recipe.model.weights, hint)])
