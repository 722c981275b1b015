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
FOLDER = "hf/"  # a model that is a folder, with its weights in it
_SOURCE = "source:"  # which is an entry of `liandan model list`
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def local(name: str) -> str:
    """The name of a model for the room of models, which never fetches: hf/ with a folder of this machine.

    An entry of the catalogue of sources (hf/source:<entry>) or a hub id is fetched, or found on this machine; a GGUF file, also one of a
    hub (hf/<owner>/<name>/<file>.gguf), is made a folder once, in the cache. Any other name stays as it is.

    Raises:
        sources.SourceError: it is not on this machine and could not be fetched; says what was tried.
        models.UnsafeWeights, models.ModelError: a GGUF file that is none, or that transformers cannot read.
    """
    if not name.startswith(FOLDER):
        return name
    short = name.removeprefix(FOLDER)
    if short.startswith(_SOURCE):
        entry, _, inside = short.removeprefix(_SOURCE).partition("/")
        return f"{FOLDER}{sources.get(entry) / inside}"
    path, parts = Path(short), short.split("/")
    hub = not path.exists() and _HUB_ID.fullmatch("/".join(parts[:2])) is not None
    if path.suffix.lower() == ".gguf":
        if hub and len(parts) > 2:
            path = sources.hub_file("/".join(parts[:2]), "/".join(parts[2:]))
        return f"{FOLDER}{_unpacked(path)}" if path.is_file() else name
    return f"{FOLDER}{sources.hub_folder(short, FILES)}" if hub and len(parts) == 2 else name


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
    if wanted == "pretrained" and recipe.model.name.startswith(FOLDER):
        return Path(local(recipe.model.name).removeprefix(FOLDER))
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
