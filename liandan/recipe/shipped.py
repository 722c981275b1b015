"""The recipes that come with the package, and how a recipe is found by path or by name."""

import os
from pathlib import Path

from . import python_config
from .faults import Fault, RecipeError, did_you_mean, one_of, show
from .read import SUFFIXES

FOLDER = Path(__file__).resolve().parent.parent / "recipes"


def shipped() -> list[str]:
    """Names of the shipped recipes, such as `image_classification/tiny`, sorted."""
    return sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.glob("*/*.yaml"))


def find(name_or_path: str | os.PathLike[str], folder: str | os.PathLike[str] = ".") -> Path:
    """The file of a recipe: a path relative to `folder`, or the name of a shipped recipe. The file is not opened.

    A name is looked up in the list of shipped recipes, never joined to a path. Raises RecipeError naming the nearest.
    """
    text = os.fspath(name_or_path)
    expected = f"a recipe: a file that ends in {' or '.join(SUFFIXES)}, or the name of a shipped one"
    if not text or "\0" in text:
        raise RecipeError([Fault("", text, expected, show(text))])
    path = Path(folder, text)
    if path.suffix.lower() not in SUFFIXES and text in shipped():
        return FOLDER / f"{text}.yaml"
    try:
        if path.exists():
            return path
        suffixes = (*SUFFIXES, *python_config.SUFFIXES)
        neighbors = sorted(entry.name for entry in path.parent.iterdir() if entry.suffix in suffixes) if path.parent.is_dir() else []
    except OSError as error:  # a name longer than the file system allows, a folder that may not be read
        raise RecipeError([Fault("", text, expected, error.strerror or str(error))]) from None
    hint = did_you_mean(path.name, neighbors) or did_you_mean(text, shipped())
    if not hint and path.suffix.lower() not in SUFFIXES and shipped():
        hint = f"shipped recipes: {one_of(shipped())}"
    raise RecipeError([Fault("", text, expected, f"no file at {path}", hint)])
