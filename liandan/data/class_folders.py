"""Format `class_folders`: <root>/<class>/**/<image>. The folder's name is the class; with `levels: 2` it is "animals/birds"."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from liandan.data.errors import DataError, suggest
from liandan.data.files import Found, hidden, shown, walk
from liandan.data.image_files import ImageFiles, usable
from liandan.data.protocols import Labels

_SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def read_class_folders(path: Path, levels: int = 1, heads: bool = False, labels: Labels | None = None) -> ImageFiles:
    """Read a folder of class folders.

    Args:
        path: the folder.
        levels: how many folders deep a class is named. An image that lies less deep is of the class of the folders it has.
        heads: each level is a head of its own, "level1", "level2" ..., in place of one class named by all of them.
        labels: class names whose order gives the targets (a run's own, for its validation or test data). Default: the names
            found, sorted by code point, which is the same on every platform and in every locale.

    Raises:
        DataError: no class folder holds an image, the folder holds splits, a class is not among `labels`, or an image lies less deep than
            its heads.
    """
    if levels < 1 or (heads and levels < 2):
        raise DataError(f"{path}: expected levels of at least {2 if heads else 1}, got {levels}")
    by_class: dict[str, list[Found]] = {}
    ignored: list[str] = []
    folders: set[str] = set()
    for entry in sorted(os.scandir(path), key=lambda e: e.name):
        if not entry.is_dir():
            ignored.append(shown(entry.name))
        elif hidden(entry.name):
            ignored.extend(shown(f.relative) for f in walk(path, entry.name))
        else:
            folders.add(shown(entry.name))
            for found in walk(path, entry.name):
                if usable(found):
                    by_class.setdefault("/".join(shown(found.relative).split("/")[:-1][:levels]), []).append(found)
                else:
                    ignored.append(shown(found.relative))
    names = sorted(by_class)
    tops = {name.partition("/")[0] for name in names}
    _judge(path, tops, ignored)
    rows = sorted((shown(found.relative), found.relative, found.size, name) for name in names for found in by_class[name])
    if heads:
        parts = [_parts(path, row[3], levels) for row in rows]
        known: Labels = {f"level{k + 1}": sorted({part[k] for part in parts}) for k in range(levels)} if labels is None else labels
        if not isinstance(known, dict) or len(known) != levels:
            raise DataError(f"{path}: the training data has other heads than these {levels} levels")
        indices = [_index(path, sorted({part[k] for part in parts}), names) for k, names in enumerate(known.values())]
        targets = [[indices[k][part[k]] for k in range(levels)] for part in parts]
    else:
        known = names if labels is None else list(labels)
        index = _index(path, names, known)
        targets = [index[row[3]] for row in rows]
    return ImageFiles(
        path=path,
        format="class_folders",
        files=[row[1] for row in rows],
        sizes=np.array([row[2] for row in rows], dtype=np.int64),
        targets=np.array(targets, dtype=np.int64),
        labels=known,
        ignored=sorted(ignored),
        empty=sorted(folders - tops),
    )


def _parts(path: Path, name: str, levels: int) -> list[str]:
    parts = name.split("/")
    if len(parts) < levels:
        raise DataError(f"{path}: with heads every image lies {levels} folders deep; some lie in {name} itself")
    return parts


def _judge(path: Path, tops: set[str], ignored: list[str]) -> None:
    if not tops:
        loose = sum(usable(Found(name, 0)) for name in ignored)
        hint = f"{loose} images lie in it directly: is it `format: images`?" if loose else "no image was found below it"
        raise DataError(f"{path}: expected class folders, <class>/<image>; {hint}")
    if {name.lower() for name in tops} <= _SPLITS:
        raise DataError(
            f"{path}: expected class folders, found the splits {', '.join(sorted(tops))}; "
            f"name one each, as in data.train: {path / min(tops)}"
        )


def _index(path: Path, names: list[str], known: list[str]) -> dict[str, int]:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise DataError(f'{path}: class folder "{unknown[0]}" is not a class of the training data; {suggest(unknown[0], known)}')
    return {name: k for k, name in enumerate(known)}
