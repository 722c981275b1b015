"""The files under a folder, as every reader sees them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CLUTTER = {"__MACOSX", "Thumbs.db", "desktop.ini"}  # what operating systems and archives leave behind


@dataclass(frozen=True)
class Found:
    """One file of a walk: its path below the root as the file system spells it, and its size in bytes."""

    relative: str
    size: int


def shown(relative: str) -> str:
    """A path as people and JSON see it: forward slashes, composed Unicode (macOS spells é in two), no undecodable bytes."""
    text = unicodedata.normalize("NFC", relative.replace(os.sep, "/"))
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def hidden(name: str) -> bool:
    return name.startswith(".") or name in _CLUTTER


def walk(root: Path, below: str = "", ancestors: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Found]:
    """Every file under root/below, links followed; a link back to one of its own parents is not. Unsorted."""
    if below and not ancestors:
        ancestors = frozenset({(os.stat(root).st_dev, os.stat(root).st_ino)})
    at = os.stat(os.path.join(root, below))
    if (at.st_dev, at.st_ino) in ancestors:
        return
    ancestors = ancestors | {(at.st_dev, at.st_ino)}
    with os.scandir(os.path.join(root, below)) as entries:
        for entry in entries:
            relative = os.path.join(below, entry.name)
            if entry.is_dir():
                yield from walk(root, relative, ancestors)
            elif entry.is_file():
                yield Found(relative, entry.stat().st_size)
            else:
                yield Found(relative, 0)  # a broken link, a pipe: reading it will say what is wrong
