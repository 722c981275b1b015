"""What the catalogue says about a source, and the one error of this room."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Progress = Callable[[str, int, "int | None"], None]
"""progress(what is going on, bytes done, bytes in all or None); called from the thread that called `get`."""


class SourceError(Exception):
    """A source, or a file of a hub, could not be had. The text says what was tried and how to bring the file by hand."""


class WayFailed(Exception):
    """One way did not lead to the file; the next is tried. The text is one line of the SourceError in the end."""


@dataclass(frozen=True)
class File:
    """One file as it is published, and what proves that it came whole.

    Attributes:
        name: in the cache. Where it is published like a file of another source: `<folder>/<name>`, to keep the two apart.
        size: bytes.
    """

    name: str
    sha256: str
    size: int


class Way(Protocol):
    """One way to bring the files of a source to this machine. A way need not verify: the store does, whoever brought the file."""

    @property
    def files(self) -> tuple[File, ...]:
        """The files that this way brings, all of which the source needs."""
        ...

    def describe(self) -> str:
        """A few words, as a person would type or click it."""
        ...

    def by_hand(self, file: File, place: Path) -> str:
        """The command that brings `file` to `place` on a machine where this way is open."""
        ...

    def fetch(self, file: File, part: Path, progress: Progress) -> None:
        """Write `file` to `part`, going on with what `part` already holds where the way can. Raises WayFailed."""
        ...


@dataclass(frozen=True)
class Source:
    """An entry of the catalogue.

    Attributes:
        english, chinese: what it is, one line each.
        license: of the data, as far as its authors have said.
        ways: tried in order; the files of the first that succeeds are prepared.
        prepare: prepare(raw, made, **options) turns the unpacked files under `raw` into plain files under `made`. It finds its input by
            name, wherever a way has put it. Its keyword-only parameters are the options of `get`.
        revision: raise it when `prepare` changes what it writes, so that no older cache is taken for the new thing.
        kind: data, or the weights of a model.
        wanted: patterns (fnmatch, `*` also matches `/`) of the members to unpack from an archive; nothing else touches the disk.
    """

    name: str
    english: str
    chinese: str
    license: str
    ways: tuple[Way, ...]
    prepare: Callable[..., None]
    revision: int = 1
    wanted: tuple[str, ...] = ("*",)
    kind: Literal["data", "weights"] = "data"

    @property
    def size(self) -> int:
        """Bytes to fetch by the first way."""
        return sum(file.size for file in self.ways[0].files)

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that `get` takes for this source."""
        parameters = inspect.signature(self.prepare).parameters.values()
        return tuple(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)
