"""A run as folders that other programs read. What cannot be proven to be the same model is not left lying around."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from liandan.deploy.artefact import GRAPHS
from liandan.runs.layout import Layout
from liandan.runtime.opened import open_run

# format -> write(run, folder): fills an empty folder, proves it, and tells figures of the proof; it may change the opened run
FOLDERS = {
    "hf": "liandan.deploy.hugging_face:write",
}
FORMATS = (*FOLDERS, *GRAPHS)

Say = Callable[[str], None]


class ExportError(Exception):
    """A run that cannot be exported as asked; the text says what can be done."""


class Unfaithful(ExportError):
    """What was written does not answer as the run does."""


class NotWorthIt(ExportError):
    """A quantized artefact is slower than the float one, or loses more than the bound, and was not kept.

    Attributes:
        rows: of all that was measured, as `export` returns them.
    """

    def __init__(self, text: str, rows: list[dict[str, Any]]) -> None:
        super().__init__(text)
        self.rows = rows


def export(
    layout: Layout,
    formats: Sequence[str],
    out: Path | None = None,
    *,
    int8: bool = False,
    force: bool = False,
    max_drop: float = 0.5,
    warn: Say = lambda text: None,
) -> list[dict[str, Any]]:
    """Write the best checkpoint of a run in several formats, an adapter merged into its base.

    Args:
        formats: names of FORMATS.
        out: the folder to make, or with several artefacts the folder that will hold a folder for each; None: export/ of the run, where
            older ones are replaced.
        int8: each graph format in int8 as well, calibrated on the run's own training split.
        force: keep a quantized artefact that is slower or loses more than `max_drop`, and mark it.
        max_drop: points (hundredths) that the run's best metric may fall by quantization; percent that one may rise that is to be small.

    Returns:
        A row an artefact: {"format", "path", "bytes"} and the figures of the proof; before those of graphs, the run's own model.

    Raises:
        ExportError: an unknown format, a folder that is in use, a run that has no such form, or (Unfaithful) a proof that failed.
        NotWorthIt: everything else was written, a quantized artefact was not.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ExportError(f'no format "{", ".join(unknown)}"; there are: {", ".join(FORMATS)}')
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out} is there already; choose a folder that is new or empty")
    graphs = [name for name in formats if name in GRAPHS]
    if int8 and not graphs:
        raise ExportError(f"int8 is for the formats {' and '.join(GRAPHS)}, not for {', '.join(formats)}")
    several = len(formats) > 1 or int8

    def target(name: str) -> Path:
        return (layout.export(name) if out is None else out / name if several else out).absolute()

    rows: list[dict[str, Any]] = []
    # exporters talk, and standard output is the caller's
    with _told(out or layout.root), Staging(target) as staging, contextlib.redirect_stdout(sys.stderr):
        if graphs:
            from liandan.deploy.graphs import write_graphs

            rows += write_graphs(open_run(layout, warn=warn), graphs, staging.folder, int8, force, max_drop, warn)
        for name in formats:
            if name in FOLDERS:
                module, _, function = FOLDERS[name].partition(":")
                write = getattr(importlib.import_module(module), function)
                rows.append({"format": name, **write(open_run(layout, warn=warn), staging.folder(name))})
        for row in rows:
            if row["format"] in staging.folders and not row.get("refused"):
                row |= staging.keep(row["format"])
    refused = [f"{row['format']} is refused: {row['refused']}" for row in rows if row.get("refused")]
    if refused:
        raise NotWorthIt("\n".join([*refused, "--force keeps it and marks it"]), rows)
    return rows


class Staging:
    """Folders that get their names when all is proven, and are gone when it is not.

    Args:
        target: name -> where the folder will lie.
    """

    def __init__(self, target: Callable[[str], Path]) -> None:
        self.target = target
        self.folders: dict[str, Path] = {}
        self.parents: set[Path] = set()  # made here, and unmade where nothing is kept in them

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, *_: object) -> None:
        for folder in self.folders.values():
            shutil.rmtree(folder, ignore_errors=True)
        for parent in self.parents:
            with contextlib.suppress(OSError):  # it is not empty
                parent.rmdir()

    def folder(self, name: str) -> Path:
        """A new empty folder beside its place."""
        place = self.target(name)
        beside = place.with_name(f".{place.name}.{os.getpid()}.tmp")
        if not place.parent.exists():
            self.parents.add(place.parent)
        beside.mkdir(parents=True)
        self.folders[name] = beside
        return beside

    def keep(self, name: str) -> dict[str, Any]:
        """Give a folder its name, in the place of an older one; where it is and what it weighs."""
        place = self.target(name)
        if place.exists():
            shutil.rmtree(place)
        self.folders[name].rename(place)
        return {"path": str(place), "bytes": weight(place)}


def weight(folder: Path) -> int:
    """Bytes of the files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@contextlib.contextmanager
def _told(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ExportError(f"cannot write {place}: {error.strerror or error}") from error
