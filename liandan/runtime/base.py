"""What a run cannot do without and its checkpoints do not hold: kept in its base/, or, when that is too large, named there by hash."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from liandan.models.huggingface import FILES
from liandan.recipe import Recipe
from liandan.runs import store
from liandan.runs.layout import Layout, RunError
from liandan.runtime.weights import FOLDER, local

_KEPT = 2 * 10**9  # bytes of frozen weights that a run directory holds itself
_REFERENCE = "reference.json"  # {"asked": {key of the recipe: value}, "files": [{"path", "bytes", "sha256"}]}


def keep(recipe: Recipe, layout: Layout, initial: Path | None) -> str:
    """Copy into base/, of a model that is a folder, how it is built; and the frozen weights, where an adapter learns beside them. Weights
    of more than 2 GB stay where they are: base/ then says where that is, and their hashes.

    Args:
        initial: what `weights.find` found.

    Returns:
        What whoever moves the run should know; empty when all is in it.
    """
    small: list[Path] = []
    if recipe.model.name.startswith(FOLDER):
        small += [Path(local(recipe.model.name).removeprefix(FOLDER)) / name for name in FILES]
    weights: list[Path] = []
    if recipe.model.adapter is not None and initial is not None:
        weights += sorted(initial.glob("*.safetensors")) if initial.is_dir() else [initial]
    weights = [path for path in weights if path.parent.resolve() != layout.base.resolve()]
    size = sum(path.stat().st_size for path in weights)
    for path in small + (weights if size <= _KEPT else []):
        if path.is_file() and path.parent.resolve() != layout.base.resolve():
            layout.base.mkdir(exist_ok=True)
            store.copy_file(path, layout.base / path.name)
    if size <= _KEPT:
        return ""
    files = [{"path": str(p.resolve()), "bytes": p.stat().st_size, "sha256": _sha256(p)} for p in weights]
    asked = {"model.name": recipe.model.name, "model.weights": recipe.model.weights}
    layout.base.mkdir(exist_ok=True)
    store.write_json_atomic(layout.base / _REFERENCE, {"asked": asked, "files": files})
    return (
        f"the frozen weights, {size / 1e9:.1f} GB, stay in {weights[0].parent} and are named in base/{_REFERENCE} by their sha256; "
        f"`liandan runs pack {layout.root}` brings them into the run before it is moved"
    )


def at_home(recipe: Recipe, layout: Layout) -> Recipe:
    """The recipe of a run with what lies in its base/ found there, wherever the run directory has been moved.

    Raises:
        RunError: weights that base/ names are not where they were, or not what they were.
    """
    if not layout.base.is_dir():
        return recipe
    files = _referenced(layout)
    for file in files:
        _judge(file, layout)
    home = Path(files[0]["path"]) if files else next((p for p in layout.base.iterdir() if p.name != _REFERENCE), None)
    if recipe.model.name.startswith(FOLDER):
        there = {"model.weights": str(home.parent)} if files and home is not None else {}
        return recipe.with_values({"model.name": f"{FOLDER}{layout.base}", **there})
    return recipe if home is None else recipe.with_values({"model.weights": str(home)})


def pack(layout: Layout) -> int:
    """Bring the weights that base/ names into the run; the bytes that were copied, 0 when nothing was missing.

    Raises:
        RunError: as `at_home`. StoreError: the disk is full.
    """
    files = _referenced(layout)
    for file in files:
        _judge(file, layout)
        store.copy_file(Path(file["path"]), layout.base / Path(file["path"]).name)
    if files:
        (layout.base / _REFERENCE).unlink()
    return sum(file["bytes"] for file in files)


def _referenced(layout: Layout) -> list[dict[str, Any]]:
    reference = layout.base / _REFERENCE
    return store.read_json(reference)["files"] if reference.is_file() else []


def _judge(file: dict[str, Any], layout: Layout) -> None:
    path = Path(file["path"])
    said = f"{layout.base / _REFERENCE} names {path} ({file['bytes']:,} bytes, sha256 {file['sha256']})"
    if not path.is_file():
        raise RunError(f"{said}, which is not there; bring the file back, or write where it is now into that file")
    if path.stat().st_size != file["bytes"] or _sha256(path) != file["sha256"]:
        raise RunError(f"{said}; the file there now is another one; the adapter was not trained beside it")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
