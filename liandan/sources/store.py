"""The cache: one verified folder a source, made by one process at a time, never seen half made.

    <home>/sources/
        downloads/<file>           as published, proven by its sha256; also where a file brought by hand goes
        downloads/<file>.part      what a broken download has so far
        <name>-<sha8>/<name>/      the prepared files: what `get` returns
        <name>-<sha8>/MANIFEST.json  their sizes and sha256
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from liandan.sources.catalogue import SOURCES
from liandan.sources.entry import File, Progress, Source, SourceError, Way, WayFailed
from liandan.sources.lock import lock
from liandan.sources.unpack import unpack

_MANIFEST = "MANIFEST.json"
Listing = dict[str, tuple[int, str]]
"""Relative path, posix -> (bytes, sha256)."""


def home() -> Path:
    """Where liandan keeps what can be fetched again: $LIANDAN_HOME, else $XDG_CACHE_HOME/liandan, else ~/.cache/liandan."""
    if own := os.environ.get("LIANDAN_HOME"):
        return Path(own).expanduser().absolute()
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache).absolute() / "liandan"
    return Path.home() / ".cache" / "liandan"


def get(name: str | Source, destination: str | os.PathLike[str] | None = None, *, progress: Progress | None = None, **options: int) -> Path:
    """Bring a source of the catalogue to this machine and return the folder of its plain files.

    What is in the cache is verified against its manifest on every call; what is damaged or missing is made again. A killed call leaves
    nothing that a later one would take for whole, and a broken download goes on where it stopped.

    Args:
        name: a name of SOURCES, or an entry of one's own.
        destination: a folder to copy the files into; it must be absent, empty, or hold nothing but (some of) these files. Without it the
            folder in the cache is returned, which is not to be written to.
        progress: called as progress(what, bytes done, bytes in all or None).
        options: of the source, such as limit=2000 for chinese-poetry; positive whole numbers.

    Raises:
        SourceError: an unknown name or option, a destination that holds other things, or no way that led to the files; the text then
            tells each way tried, the hash expected and how to bring the file by hand.
    """
    source = _lookup(name)
    _check(source, options)
    report: Progress = progress or (lambda what, done, total: None)
    folder = home() / "sources" / f"{source.name}-{_key(source, options)}"
    made = folder / source.name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with lock(folder.with_name(f".{folder.name}.lock"), report):
            listing = _verified(folder)
            if listing is None:
                listing = _make(source, options, folder, report)
        return made if destination is None else _deliver(made, listing, Path(destination))
    except OSError as error:
        raise SourceError(
            f"source {source.name}: {error}. The cache is {home()}: it must be writable and have room; set LIANDAN_HOME to another place."
        ) from error


def _lookup(name: str | Source) -> Source:
    if isinstance(name, Source):
        return name
    if name not in SOURCES:
        close = difflib.get_close_matches(name, SOURCES, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise SourceError(f"expected the name of a source, one of {', '.join(sorted(SOURCES))}; got {name!r}{hint}")
    return SOURCES[name]


def _check(source: Source, options: Mapping[str, Any]) -> None:
    for option, value in options.items():
        if option not in source.options:
            raise SourceError(f"source {source.name} takes {', '.join(source.options) or 'no options'}; got {option}={value!r}")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise SourceError(f"source {source.name}: expected {option} to be a whole number of at least 1, got {value!r}")


def _key(source: Source, options: Mapping[str, Any]) -> str:
    """What the prepared files depend on, in eight digits: the published file, how it is prepared, the options."""
    told = [[file.sha256 for file in source.ways[0].files], source.revision, sorted(options.items())]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]


# --- making ---------------------------------------------------------------------------------------------------------------


def _make(source: Source, options: Mapping[str, Any], folder: Path, progress: Progress) -> Listing:
    """Fetch, unpack, prepare and publish. Runs under the lock of `folder`, so its leftovers are those of killed calls."""
    for stale in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(stale, ignore_errors=True)
    archives = _obtain(source, progress)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent) as temporary:
        raw, new = Path(temporary, "raw"), Path(temporary, "new")
        for archive in archives:
            progress(f"unpack {archive.name}", 0, None)
            unpack(archive, raw, source.wanted)
        progress(f"prepare {source.name}", 0, None)
        source.prepare(raw, new / source.name, **options)
        listing = _list(new / source.name)
        manifest = {"source": source.name, "license": source.license, "options": dict(options), "files": listing}
        (new / _MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=1), encoding="utf-8")
        _sync(new)
        if folder.exists():  # damaged
            os.replace(folder, Path(temporary, "old"))
        os.replace(new, folder)
        _sync_one(folder.parent)
    return listing


def _obtain(source: Source, progress: Progress) -> list[Path]:
    """The published files, each verified: from the cache or by hand when they lie there, else by the first way that succeeds."""
    downloads = home() / "sources" / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    known = {file: _kept(file, downloads, failures) for way in source.ways for file in way.files}
    for way in source.ways:
        if all(known[file] for file in way.files):
            return [downloads / file.name for file in way.files]
    for way in source.ways:
        try:
            for file in way.files:
                if not known[file]:
                    _fetch(way, file, downloads / file.name, progress)
                    known[file] = True
            return [downloads / file.name for file in way.files]
        except WayFailed as error:
            failures.append(f"{way.describe()}: {error}")
    raise SourceError(_all_failed(source, failures, downloads))


def _kept(file: File, downloads: Path, failures: list[str]) -> bool:
    place = downloads / file.name
    if not place.is_file():
        return False
    size, sha256 = _digest(place)
    if (size, sha256) == (file.size, file.sha256):
        return True
    failures.append(f"{place}, which lay there: expected {_proof(file.size, file.sha256)}, got {_proof(size, sha256)}; it is not used")
    return False


def _fetch(way: Way, file: File, place: Path, progress: Progress) -> None:
    """Bring one file to its place in the cache, or raise WayFailed. A part that turns out wrong is thrown away, and tried afresh once."""
    part = place.with_name(place.name + ".part")
    place.parent.mkdir(exist_ok=True)  # a hub's files have a folder of their own
    with lock(place.with_name(f".{place.name}.lock"), progress):
        while True:
            resumed = part.exists() and part.stat().st_size > 0
            way.fetch(file, part, progress)
            size, sha256 = _digest(part)
            if (size, sha256) == (file.size, file.sha256):
                break
            part.unlink()
            if not resumed:
                raise WayFailed(f"expected {_proof(file.size, file.sha256)}, got {_proof(size, sha256)}: it was thrown away")
        _sync_one(part)
        os.replace(part, place)


def _all_failed(source: Source, failures: list[str], downloads: Path) -> str:
    lines = [f"source {source.name} could not be fetched. Tried, in this order:"]
    lines += [f"  {i}. {failure}" for i, failure in enumerate(failures, 1)]
    lines += ["To bring it by hand, here or on a machine that has a network:"]
    told: set[File] = set()
    for i, way in enumerate(source.ways):
        for file in way.files:
            lines.append(f"  {'or ' if i else ''}{way.by_hand(file, downloads / file.name)}")
            if file not in told:
                lines.append(f"      expected: {file.name}, {_proof(file.size, file.sha256)}")
                told.add(file)
    lines += ["Put the file (all of the files of one way) into", f"  {downloads}", "and call again: it is verified by its sha256 and used."]
    return "\n".join(lines)


def _proof(size: int, sha256: str) -> str:
    return f"{size:,} bytes with sha256 {sha256}"


# --- verifying ------------------------------------------------------------------------------------------------------------


def _digest(path: Path) -> tuple[int, str]:
    with open(path, "rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        return content.tell(), sha256


def _list(folder: Path) -> Listing:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _digest(path) for path in files}


def _verified(folder: Path) -> Listing | None:
    """The manifest's listing when every prepared file is there and whole, and no other; else None."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        listing = {str(path): (size, sha256) for path, (size, sha256) in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return listing if listing and listing == _list(folder / manifest["source"]) else None


# --- writing --------------------------------------------------------------------------------------------------------------


def _deliver(made: Path, listing: Listing, destination: Path) -> Path:
    """Copy to the user's folder. What is there already is verified, what is missing is added, anything else is refused."""
    if not destination.exists():
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{destination.name}.", dir=destination.parent) as temporary:
            os.replace(shutil.copytree(made, Path(temporary, "new"), copy_function=shutil.copyfile), destination)
        return destination
    if not destination.is_dir():
        raise SourceError(f"expected a folder that is absent or empty, got the file {destination}: name another one")
    present = {p.relative_to(destination).as_posix(): p for p in destination.rglob("*") if p.is_file() and not p.name.startswith(".")}
    for path, place in present.items():
        if path not in listing or _digest(place) != listing[path]:
            told = f"it holds {path}, which is {'not as the source has it' if path in listing else 'none of the source'}"
            raise SourceError(f"expected {destination} to be absent or empty; {told}: move it away or name another folder")
    for path in listing.keys() - present.keys():
        place = destination / path
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.part")
        shutil.copyfile(made / path, part)
        os.replace(part, place)
    return destination


def _sync(folder: Path) -> None:
    """Everything below a folder to the disk. In threads: a journal commits many waiting files at once."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(_sync_one, [folder, *folder.rglob("*")]))


def _sync_one(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
