"""A run as a folder that other programs read. What cannot be proven to be the same model is not left lying around."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from liandan.runs.layout import Layout
from liandan.runtime.opened import open_run

# format -> write(run, folder): fills an empty folder, proves it, and tells figures of the proof; it may change the opened run
FORMATS = {
    "hf": "liandan.deploy.hugging_face:write",
}


class ExportError(Exception):
    """A run that cannot be exported as asked; the text says what can be done."""


class Unfaithful(ExportError):
    """What was written does not answer as the run does."""


def export(layout: Layout, format: str, out: Path | None = None, warn: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Write the best checkpoint of a run in a format, an adapter merged into its base.

    Args:
        format: a name of FORMATS.
        out: the folder to make; None: export/<format>/ of the run, where an older export is replaced.

    Returns:
        {"format", "path", "bytes"} and the figures of the proof.

    Raises:
        ExportError: an unknown format, a folder that is in use, a run that has no such form, or (Unfaithful) a proof that failed.
    """
    if format not in FORMATS:
        raise ExportError(f'no format "{format}"; there are: {", ".join(FORMATS)}')
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out} is there already; choose a folder that is new or empty")
    target = (out or layout.export(format)).absolute()
    module, _, name = FORMATS[format].partition(":")
    write = getattr(importlib.import_module(module), name)
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        beside.mkdir(parents=True)
        figures = write(open_run(layout, warn=warn), beside)
        if target.exists():
            shutil.rmtree(target)
        beside.rename(target)
    except OSError as error:
        raise ExportError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    return {"format": format, "path": str(target), "bytes": size, **figures}
