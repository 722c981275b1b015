"""Where a recipe's model.weights lie on this machine: a file, another run, a model's folder, or a model library's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from liandan import sources
from liandan.models.huggingface import FILES
from liandan.models.pretrained import published
from liandan.recipe import Fault, Recipe, RecipeError
from liandan.runs import layout as layouts
from liandan.runs import store


def here(model: str) -> bool:
    """Whether a model's pretrained weights are on this machine already. Asks no network."""
    where = published(model)
    return where is not None and sources.cached(*where) is not None


_RUN = "run:"
_FOLDER = "hf/"  # a model that is a folder, with its weights in it
_KEPT = 2 * 10**9  # bytes of frozen weights that a run directory holds itself


def find(recipe: Recipe) -> Path | None:
    """The local file (or folder) of the recipe's initial weights; None for `none`.

    Raises:
        RecipeError: the file or run is not there.
        sources.SourceError: the weights are not on this machine and could not be fetched; says what was tried.
    """
    wanted = recipe.model.weights
    if wanted == "none":
        return None
    if wanted == "pretrained" and recipe.model.name.startswith(_FOLDER):
        return Path(recipe.model.name.removeprefix(_FOLDER))
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
    if not path.is_file():
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


def keep(recipe: Recipe, layout: layouts.Layout, initial: Path | None) -> None:
    """Copy into the run's base/ what the run cannot do without and its checkpoints do not hold: of a model that is a folder, how it is
    built; and the frozen weights, where an adapter learns beside them.

    Args:
        initial: what `find` found.

    Raises:
        RecipeError: they are too large for a run directory.
    """
    wanted: list[Path] = []
    if recipe.model.name.startswith(_FOLDER):
        wanted += [Path(recipe.model.name.removeprefix(_FOLDER)) / name for name in FILES]
    if recipe.model.adapter is not None and initial is not None:
        wanted += sorted(initial.glob("*.safetensors")) if initial.is_dir() else [initial]
    wanted = [path for path in wanted if path.is_file() and path.parent.resolve() != layout.base.resolve()]
    if sum(path.stat().st_size for path in wanted) > _KEPT:
        raise _fault(recipe, f"frozen weights of at most {_KEPT / 1e9:g} GB beside an adapter", "larger ones are not supported yet")
    for path in wanted:
        layout.base.mkdir(exist_ok=True)
        store.copy_file(path, layout.base / path.name)


def at_home(recipe: Recipe, layout: layouts.Layout) -> Recipe:
    """The recipe of a run with what lies in its base/ found there, wherever the run directory has been moved."""
    if not layout.base.is_dir():
        return recipe
    if recipe.model.name.startswith(_FOLDER):
        return recipe.with_values({"model.name": f"{_FOLDER}{layout.base}"})
    return recipe.with_values({"model.weights": str(next(layout.base.iterdir()))})


def _fault(recipe: Recipe, expected: str, hint: str) -> RecipeError:
    return RecipeError([Fault("model.weights", recipe.document.lines.get("model.weights", ""), expected, recipe.model.weights, hint)])
