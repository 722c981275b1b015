"""Arrays that take long to make, kept in the user's cache folder from one run to the next, and memory-mapped.

    <cache>/tokens/<sha256 of what they depend on>/<name>.bin     the numbers, one after the other
    <cache>/tokens/<sha256 ...>/MANIFEST.json                      their types, lengths and sha256, written last

Nothing larger than a part of them is in memory while they are made. What does not have its sha256 any more is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_VERSION = 2  # of how text becomes arrays; another one makes no use of what was kept
_MANIFEST = "MANIFEST.json"

Part = Mapping[str, np.ndarray]


def folder() -> Path:
    """Below what also holds fetched sources: $LIANDAN_HOME, else $XDG_CACHE_HOME/liandan, else ~/.cache/liandan. May be deleted at any time
    between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(os.environ.get("LIANDAN_HOME") or os.path.join(base, "liandan")).expanduser() / "tokens"


def kept(facts: Any, make: Callable[[], Iterable[Part]]) -> dict[str, np.ndarray]:
    """Arrays of one dimension by name: those that an earlier call with the same facts wrote, or made now.

    A cache that cannot be written or read stops nothing: then they are in memory.

    Args:
        facts: JSON-able: all that the arrays depend on.
        make: gives them in parts, to be put one after the other; the first part names them all and says their types.
    """
    text = json.dumps([_VERSION, facts], sort_keys=True)
    at = folder() / hashlib.sha256(text.encode()).hexdigest()
    try:
        found = _read(at)
        if found is None:
            _write(at, make())
            found = _read(at)
        if found is not None:
            return found
    except OSError:
        pass
    parts = list(make())
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _write(at: Path, parts: Iterable[Part]) -> None:
    """Appears whole or not at all; raises OSError."""
    at.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=at.parent, prefix=".making-"))
    try:
        facts: dict[str, dict[str, Any]] = {}
        hashes: dict[str, Any] = {}
        with contextlib.ExitStack() as stack:
            files = {}
            for part in parts:
                for name, array in part.items():
                    if name not in files:
                        files[name] = stack.enter_context((making / f"{name}.bin").open("wb"))
                        facts[name], hashes[name] = {"dtype": array.dtype.str, "count": 0}, hashlib.sha256()
                    data = array.tobytes()
                    files[name].write(data)
                    hashes[name].update(data)
                    facts[name]["count"] += len(array)
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
        manifest = {name: {**fact, "sha256": hashes[name].hexdigest()} for name, fact in facts.items()}
        (making / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        shutil.rmtree(at, ignore_errors=True)  # what is there is damaged
        with contextlib.suppress(OSError):  # another process was first
            making.rename(at)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _read(at: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a folder, memory-mapped; None where there are none, or other bytes than were written."""
    try:
        manifest = json.loads((at / _MANIFEST).read_text(encoding="utf-8"))
        out: dict[str, np.ndarray] = {}
        for name, fact in manifest.items():
            with (at / f"{name}.bin").open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != fact["sha256"]:
                    return None
            # of nothing there is no map
            shape, dtype = (fact["count"],), np.dtype(fact["dtype"])
            out[name] = np.memmap(at / f"{name}.bin", dtype, "r", shape=shape) if fact["count"] else np.zeros(shape, dtype)
        return out
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


class Ragged:
    """Sequences of different lengths, one after the other in arrays that may lie on disk.

    Args:
        arrays: `length` int64 (N,), and others by name whose lengths are its sum, or N, a number for each sequence.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.lengths = arrays["length"]
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])
        self._arrays = dict(arrays)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._arrays.values())

    def of(self, name: str, i: int) -> np.ndarray:
        """The i-th sequence of an array, a view."""
        return self._arrays[name][self._starts[i] : self._starts[i + 1]]

    def each(self, name: str) -> np.ndarray:
        """An array with a number for each sequence."""
        return self._arrays[name]

    def __getstate__(self) -> dict[str, Any]:
        return {name: _mapped(array) or array for name, array in self._arrays.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__({n: np.memmap(a[0], a[1], "r", shape=a[2]) if isinstance(a, tuple) else a for n, a in state.items()})


def _mapped(array: np.ndarray) -> tuple[Any, ...] | None:
    """Where a whole mapped file lies: pickled as it is, it would be copied."""
    if isinstance(array, np.memmap) and array.filename is not None:
        return array.filename, array.dtype.str, array.shape
    return None
