"""Format `class_folders`: <root>/<class>/**/<image>. The folder's name is the class."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from liandan.data.errors import DataError, suggest
from liandan.data.files import Found, hidden, shown, walk
from liandan.data.image_files import ImageFiles, usable

_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def read_class_folders(path: Path, labels: list[str] | None = None) -> ImageFiles:
    """Read a folder of class folders.

    Args:
        path: the folder.
        labels: class names whose order gives the targets (a run's own, for its validation or test data). Default: the names
            found, sorted by code point, which is the same on every platform and in every locale.

    Raises:
        DataError: no class folder holds an image, the folder holds splits, or a class is not among `labels`.
    """
    by_class: dict[str, list[Found]] = {}
    ignored: list[str] = []
    for entry in sorted(os.scandir(path), key=lambda e: e.name):
        if not entry.is_dir():
            ignored.append(shown(entry.name))
        elif hidden(entry.name):
            ignored.extend(shown(f.relative) for f in walk(path, entry.name))
        else:
            of_class = by_class.setdefault(shown(entry.name), [])
            for found in walk(path, entry.name):
                if usable(found):
                    of_class.append(found)
                else:
                    ignored.append(shown(found.relative))
    names = sorted(name for name, found in by_class.items() if found)
    if not names:
        loose = sum(usable(Found(name, 0)) for name in ignored)
        hint = f"{loose} images lie in it directly: is it `format: images`?" if loose else "no image was found below it"
        raise DataError(f"{path}: expected class folders, <class>/<image>; {hint}")
    if {name.lower() for name in names} <= _SPLITS:
        raise DataError(
            f"{path}: expected class folders, found the splits {', '.join(names)}; name one each, as in data.train: {path / names[0]}"
        )
    unknown = [name for name in names if labels is not None and name not in labels]
    if unknown:
        raise DataError(f'{path}: class folder "{unknown[0]}" is not a class of the training data; {suggest(unknown[0], labels or ())}')
    labels = names if labels is None else list(labels)
    index = {name: k for k, name in enumerate(labels)}
    rows = sorted((shown(found.relative), found.relative, found.size, index[name]) for name in names for found in by_class[name])
    return ImageFiles(
        path=path,
        format="class_folders",
        files=[row[1] for row in rows],
        sizes=np.array([row[2] for row in rows], dtype=np.int64),
        targets=np.array([row[3] for row in rows], dtype=np.int64),
        labels=labels,
        ignored=sorted(ignored),
        empty=sorted(name for name, found in by_class.items() if not found),
    )
