"""Where a recipe's model.weights lie on this machine: a file, another run, a model's folder, or a model library's own."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any

from liandan import sources
from liandan.models.gguf_files import to_folder
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
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_KEPT = 2 * 10**9  # bytes of frozen weights that a run directory holds itself


def local(name: str) -> str:
    """The name of a model for the room of models, which never fetches: hf/ with a folder of this machine.

    A hub id is fetched, or found in the hub's cache; a GGUF file, also one of a hub (hf/<owner>/<name>/<file>.gguf), is made a folder once,
    in the cache. Any other name stays as it is.

    Raises:
        sources.SourceError: it is not on this machine and could not be fetched; says what was tried.
        models.UnsafeWeights, models.ModelError: a GGUF file that is none, or that transformers cannot read.
    """
    if not name.startswith(_FOLDER):
        return name
    short = name.removeprefix(_FOLDER)
    path, parts = Path(short), short.split("/")
    hub = not path.exists() and _HUB_ID.fullmatch("/".join(parts[:2])) is not None
    if path.suffix.lower() == ".gguf":
        if hub and len(parts) > 2:
            path = sources.hub_file("/".join(parts[:2]), "/".join(parts[2:]))
        return f"{_FOLDER}{_unpacked(path)}" if path.is_file() else name
    return f"{_FOLDER}{sources.hub_folder(short, FILES)}" if hub and len(parts) == 2 else name


def _unpacked(path: Path) -> Path:
    """The folder of a GGUF file in the cache, made where it is not there yet; appears whole or not at all."""
    facts = path.stat()
    folder = sources.home() / "gguf" / _digest(path, facts.st_size, facts.st_mtime_ns)
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as making:
            to_folder(path, Path(making) / "model")
            with contextlib.suppress(OSError):  # another process was first
                (Path(making) / "model").rename(folder)
    return folder


@functools.lru_cache(maxsize=8)
def _digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        return Path(local(recipe.model.name).removeprefix(_FOLDER))
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
        wanted += [Path(local(recipe.model.name).removeprefix(_FOLDER)) / name for name in FILES]
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
