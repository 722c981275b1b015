"""Where a recipe's model.weights lie on this machine: a file, another run, or a model library's own."""

from __future__ import annotations

from pathlib import Path

from liandan import sources
from liandan.models.pretrained import published
from liandan.recipe import Fault, Recipe, RecipeError
from liandan.runs import layout as layouts
from liandan.runs import store


def here(model: str) -> bool:
    """Whether a model's pretrained weights are on this machine already. Asks no network."""
    where = published(model)
    return where is not None and sources.cached(*where) is not None


def find(recipe: Recipe) -> Path | None:
    """The local file of the recipe's initial weights; None for `none`.

    Raises:
        RecipeError: the file or run is not there.
        sources.SourceError: the weights are not on this machine and could not be fetched; says what was tried.
    """
    wanted = recipe.model.weights
    if wanted == "none":
        return None
    if wanted == "pretrained":
        where = published(recipe.model.name)
        if where is None:
            raise _fault(recipe, "a model that has published weights", f"{recipe.model.name} has none; use model.weights=none or a file")
        return sources.hub_file(*where)
    if wanted.startswith("run:"):
        layout = layouts.find(wanted.removeprefix("run:"))
        pointer = store.read_pointer(layout.best) or store.read_pointer(layout.last)
        if pointer is None:
            raise _fault(recipe, "a run with a checkpoint", f"{layout.root} has none")
        return layout.checkpoints / pointer["checkpoint"] / "model.safetensors"
    path = Path(wanted)
    if not path.is_file():
        raise _fault(
            recipe,
            "none, pretrained, run:<run>, or the path of a weights file",
            f"there is no file {path}; check the path, or use model.weights=none to start from scratch",
        )
    return path


def _fault(recipe: Recipe, expected: str, hint: str) -> RecipeError:
    return RecipeError([Fault("model.weights", recipe.document.lines.get("model.weights", ""), expected, recipe.model.weights, hint)])
