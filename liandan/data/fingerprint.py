"""What a data set was, small enough to keep with a run, and in words how it differs from what it is now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def digest(rows: Iterable[Sequence[Any]]) -> str:
    """sha256 over rows of JSON-able values; the caller sorts where order means nothing."""
    h = hashlib.sha256()
    for row in rows:
        h.update(json.dumps(list(row), ensure_ascii=True, separators=(",", ":")).encode())
        h.update(b"\n")
    return h.hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's content, in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differences(old: Sequence[Sequence[Any]] | None, new: Sequence[Sequence[Any]] | None, limit: int = 5) -> list[str]:
    """How two manifests differ, as sentences; none when they agree.

    Args:
        old, new: rows [name, size in bytes] or [name, size, sha256], as `source.manifest()` gives them.
        limit: sentences before the rest is only counted.
    """
    before = {str(row[0]): list(row[1:]) for row in old or ()}
    after = {str(row[0]): list(row[1:]) for row in new or ()}
    found: list[str] = []
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            found.append(f"added: {name} ({after[name][0]:,} bytes)")
        elif name not in after:
            found.append(f"removed: {name} ({before[name][0]:,} bytes)")
        elif before[name][0] != after[name][0]:
            found.append(f"changed: {name} had {before[name][0]:,} bytes and has {after[name][0]:,}")
        elif before[name] != after[name]:
            found.append(f"changed: {name} has the same size ({after[name][0]:,} bytes) and other content")
    if len(found) > limit:
        return [*found[:limit], f"and {len(found) - limit:,} more"]
    return found
