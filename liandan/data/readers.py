"""The table of formats: a path on this machine -> raw source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from liandan.data.annotations import is_list, read_annotations
from liandan.data.choices import looks_like_choices, read_choices
from liandan.data.class_folders import read_class_folders
from liandan.data.conversations import looks_like_conversations, read_conversations
from liandan.data.errors import DataError, suggest
from liandan.data.files import hidden, walk
from liandan.data.idx import find_images, read_idx
from liandan.data.image_files import is_image, usable
from liandan.data.image_folder import read_image_folder
from liandan.data.labeled_text import looks_like_labeled_text, read_labeled_text
from liandan.data.rows import SUFFIXES
from liandan.data.table import looks_like_table, read_table
from liandan.data.text import looks_like_text, read_text
from liandan.data.tokens import read_tokens

READERS: dict[str, Callable[..., Any]] = {
    "class_folders": read_class_folders,
    "images": read_image_folder,
    "annotations": read_annotations,
    "table": read_table,
    "idx": read_idx,
    "text": read_text,
    "tokens": read_tokens,
    "conversations": read_conversations,
    "labeled_text": read_labeled_text,
    "choices": read_choices,
}

_EXPECTED = """  class_folders  a folder with a folder of images for each class
  images         a folder of images
  annotations    a .txt file with a line `<path> <index of the class>` for each image
  table          images in a file of rows (.csv, .tsv, .parquet, .json, .jsonl) with the columns path and label
  idx            MNIST's files, train-images-idx3-ubyte and train-labels-idx1-ubyte (or with .gz)
  text           a .txt file, a folder of them, or a file of rows with the key text
  tokens         a .npy or .bin file of token ids
  conversations  questions with their answers: a file of rows in the shape of alpaca, sharegpt, messages or prompt
  labeled_text   texts with a label each: a file of rows with the keys text and label
  choices        questions with answers to choose from: a file of rows with the keys question, choices and answer"""


def read(path: str | Path, format: str | None = None, **arguments: Any) -> Any:
    """Read raw data.

    Args:
        path: a file or folder on this machine.
        format: a name of READERS; default: what the path looks like.
        arguments: keyword arguments of that reader; its signature says which.

    Raises:
        DataError: nothing there, an unknown format or argument, or data that is not in the format.
    """
    where = Path(path)
    if not where.exists():
        raise DataError(f"{where}: there is no such file or folder")
    name = detect_format(where) if format is None else format
    if name not in READERS:
        raise DataError(f'no data format "{name}"; {suggest(name, READERS)}')
    known = {key: hint for key, hint in get_type_hints(READERS[name]).items() if key not in ("path", "return")}
    for key, value in arguments.items():
        if key not in known:
            raise DataError(f'format {name} takes no "{key}"; {suggest(key, known) if known else "it takes no arguments"}')
        try:
            TypeAdapter(known[key]).validate_python(value, strict=True)
        except ValidationError as error:
            raise DataError(f"format {name}: {key}: {error.errors()[0]['msg']}, got {value!r}") from error
    return READERS[name](where, **arguments)


def detect_format(path: str | Path) -> str:
    """Which format a path looks like, by names and the first lines of a text; raises DataError that lists what each expects."""
    where = Path(path)
    found = _looks_like(where)
    if found is None:
        raise DataError(f"{where}: not recognized as data. Expected one of\n{_EXPECTED}\nor state it with data.train.format")
    return found


def _looks_like(path: Path) -> str | None:
    if path.is_file():
        if path.name.removesuffix(".gz").endswith("idx3-ubyte"):
            return "idx"
        suffix = path.suffix.lower()
        if suffix in SUFFIXES:
            return _of_rows(path) or (None if suffix.startswith(".json") else "table")
        if suffix == ".txt":
            return "annotations" if is_list(path) else "text"
        return {".npy": "tokens", ".bin": "tokens"}.get(suffix)
    if not path.is_dir():
        return None
    if find_images(path):
        return "idx"
    inside = [entry for entry in sorted(path.iterdir()) if not hidden(entry.name)]
    if any(entry.is_dir() and any(usable(found) for found in walk(path, entry.name)) for entry in inside):
        return "class_folders"
    if any(is_image(entry.name) for entry in inside):
        return "images"
    if any(entry.suffix.lower() in SUFFIXES for entry in inside) and (found := _of_rows(path)):
        return found
    return "text" if any(f.relative.lower().endswith(".txt") for f in walk(path)) else None


def _of_rows(path: Path) -> str | None:
    """The format of a file of rows, or of the only one in a folder, by the keys of its first row."""
    if looks_like_conversations(path):
        return "conversations"
    if looks_like_choices(path):
        return "choices"
    if looks_like_labeled_text(path):
        return "labeled_text"
    if path.is_dir():
        return None
    return "table" if looks_like_table(path) else "text" if looks_like_text(path) else None
