"""Checkpoints and small files on disk: written whole or not at all, proven by a manifest, read only when proven.

A checkpoint is written into `step-N.tmp/`, its MANIFEST.json (sha256 and size of every file) last, everything flushed to the disk,
then renamed. A folder of the final name is therefore complete unless the disk itself lost something, which the manifest shows. One
process writes at a time (see lock.py); any number may read. No pickle anywhere: safetensors and JSON.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liandan.runs import tensors as tensor_files
from liandan.runs.layout import STEP_FOLDER, Layout, RunError

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST = "MANIFEST.json"
FORMAT = 1
_INDEX = tensor_files.SUFFIX + ".index.json"
_TEMPORARY, _OLD, _TRASH = ".tmp", ".old", ".trash"
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MANIFEST_LIMIT = 1 << 24
_log = logging.getLogger("liandan.runs")

Warn = Callable[[str], None]


class StoreError(RunError):
    """A file of a run cannot be written, or cannot be trusted; what was there before is untouched."""


def is_full(error: StoreError) -> bool:
    """Whether the disk, a quota or a limit on file sizes was the reason, so that a later write may succeed."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_SPACE


# --- small files -----------------------------------------------------------------------------------------------------------------


def write_json_atomic(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON: readers see the old file or the new one, never a part. NaN and infinity are refused."""
    write_bytes_atomic(path, _json(path.name, value))


def write_text_atomic(path: Path, text: str) -> None:
    """Replace `path` by `text` (UTF-8): readers see the old file or the new one, never a part. Raises StoreError."""
    write_bytes_atomic(path, text.encode())


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, making the folders above it; the old file stays where this fails. Raises StoreError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        _write_file(temporary, content)
        try:
            os.replace(temporary, path)
        except FileNotFoundError:
            # Another process wrote the same file meanwhile and swept ours away: as if ours had come just before.
            if not path.exists():
                raise
        _sweep_beside(path)
        _flush_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _failure(str(path), path, error, len(content)) from error


def copy_file(source: Path, destination: Path) -> None:
    """A copy of a file, complete or not at all, on the disk when this returns. Raises StoreError."""
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.tmp")
    try:
        shutil.copyfile(source, temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, destination)
        _sweep_beside(destination)
        _flush_folder(destination.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _failure(str(destination), destination, error, source.stat().st_size) from error


def _sweep_beside(path: Path) -> None:
    """Delete the temporary files that killed writers of `path` left."""
    for left in path.parent.iterdir():
        if left.name.startswith(f".{path.name}.") and left.suffix == _TEMPORARY:
            left.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """The JSON of `path`. Raises StoreError that names the file when it is missing or torn."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is not JSON ({error}); restore it from a copy, or delete it if it can be made again") from error


def free_space(path: Path) -> int:
    """Bytes this user may still write where `path` is, or will be."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def estimate(tensors: Mapping[str, Mapping[str, Tensor]]) -> int:
    """Bytes the tensor files of a checkpoint will take (exact; the JSON beside them is small)."""
    total = 0
    for file, named in tensors.items():
        shards, _ = tensor_files.plan(file, named)
        total += sum(shard.bytes + len(shard.header()[0]) for shard in shards)
    return total


# --- writing a checkpoint --------------------------------------------------------------------------------------------------------


def write_checkpoint(
    layout: Layout,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    documents: Mapping[str, Any],
    *,
    shard_size: int = tensor_files.SHARD_SIZE,
) -> Path:
    """Write `checkpoints/step-N` and point last.json at it; a checkpoint of the same step is replaced.

    tensors: {"model.safetensors": {parameter name: tensor of any device}}; documents: {"state.json": JSON value}. Tied tensors are
    stored once and come back under every name. Files above `shard_size` bytes are sharded in the Hub's form. Raises StoreError (full
    disk, no permission) with the older checkpoints untouched and no temporary folder left, ValueError for a value that cannot be
    stored."""
    final = layout.checkpoint(step)
    shards, texts = _contents(tensors, documents, shard_size)
    temporary = _beside(final, _TEMPORARY)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _settle(final)
        temporary.mkdir()
        files = {shard.file: tensor_files.write(temporary / shard.file, shard) for shard in shards}
        for name, content in texts.items():
            _write_file(temporary / name, content)
            files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        _write_file(temporary / MANIFEST, _manifest({"format": FORMAT, "step": step, "files": files}))
        _flush_folder(temporary)
        _swap(temporary, final)
    except OSError as error:
        _remove_quietly(temporary)
        needed = estimate(tensors) + sum(len(content) for content in texts.values())
        raise _failure(f"the checkpoint {final}", final, error, needed) from error
    except BaseException:
        _remove_quietly(temporary)
        raise
    point(layout.last, step, finished=False, reason=None)
    return final


def point(pointer: Path, step: int | None, **facts: Any) -> None:
    """Write a pointer (`layout.last`, `layout.best`): {"step", "checkpoint", **facts}. Step None: there is no checkpoint yet."""
    checkpoint = None if step is None else Layout(pointer.parent.parent).checkpoint(step).name
    write_json_atomic(pointer, {"step": step, "checkpoint": checkpoint, **facts})


def finish(layout: Layout, *, finished: bool, reason: str | None = None) -> None:
    """Record in last.json how the run ended, whichever checkpoint it points at.

    reason: None, or one line; one that starts with "interrupted" means that a person or the machine stopped the run, any other that it
    failed."""
    pointer = read_pointer(layout.last) or {}
    point(layout.last, pointer.get("step"), finished=finished, reason=reason)


def read_pointer(pointer: Path) -> dict[str, Any] | None:
    """The pointer's values; None when it is missing, torn, or points anywhere but at a checkpoint beside it."""
    try:
        value = read_json(pointer)
    except StoreError:
        return None
    if not isinstance(value, dict):
        return None
    step, name = value.get("step"), value.get("checkpoint")
    if step is None and name is None:
        return value
    match = STEP_FOLDER.fullmatch(name) if isinstance(name, str) else None
    return value if match and int(match[1]) == step else None


def _contents(
    tensors: Mapping[str, Mapping[str, Tensor]], documents: Mapping[str, Any], shard_size: int
) -> tuple[list[tensor_files.Shard], dict[str, bytes]]:
    """Everything that will be written, judged before anything is."""
    shards: list[tensor_files.Shard] = []
    texts: dict[str, bytes] = {}
    for file, named in tensors.items():
        if not file.endswith(tensor_files.SUFFIX) or not _is_flat(file):
            raise ValueError(f"a tensor file is called NAME{tensor_files.SUFFIX}, received {file!r}")
        planned, index = tensor_files.plan(file, named, shard_size)
        shards += planned
        if index is not None:
            texts[file.removesuffix(tensor_files.SUFFIX) + _INDEX] = _json(file, index)
    for file, value in documents.items():
        if not file.endswith(".json") or file.endswith(_INDEX) or file == MANIFEST or not _is_flat(file):
            raise ValueError(f"a document is called NAME.json (and not {MANIFEST} or NAME{_INDEX}), received {file!r}")
        texts[file] = _json(file, value)
    return shards, texts


def _swap(temporary: Path, final: Path) -> None:
    """Give the finished folder its name. An older one of that name steps aside first and stays loadable until the new one is in place."""
    old = _beside(final, _OLD)
    if final.exists():
        os.rename(final, old)
    try:
        os.rename(temporary, final)
    except OSError:
        if old.exists():
            os.rename(old, final)
        raise
    _flush_folder(final.parent)
    _remove_quietly(old)


def _settle(final: Path) -> None:
    """Clear what a killed writer of this step left behind. Raises OSError."""
    old = _beside(final, _OLD)
    if old.exists():
        if final.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, final)
    for suffix in (_TEMPORARY, _TRASH):
        left = _beside(final, suffix)
        if left.exists():
            shutil.rmtree(left)


# --- reading a checkpoint --------------------------------------------------------------------------------------------------------


def read_checkpoint(folder: Path, verify: bool = True) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """(tensors, documents) of a checkpoint, keyed by the file names given to `write_checkpoint`; shards are joined, all on the CPU.

    verify=False skips hashing, for a folder that `newest_valid` has just returned. Raises StoreError with the reason when it is not
    whole."""
    reason = _fault(folder, contents=verify)
    if reason:
        raise StoreError(f"{folder} cannot be loaded: {reason}; choose another checkpoint")
    from safetensors import SafetensorError

    tensors: dict[str, dict[str, Tensor]] = {}
    documents: dict[str, Any] = {}
    names = set(_read_manifest(folder)["files"])
    try:
        for index in [name for name in names if name.endswith(_INDEX)]:
            shards = sorted(set(read_json(folder / index)["weight_map"].values()))
            if not names.issuperset(shards):
                raise StoreError(f"{folder} cannot be loaded: {index} names files that {MANIFEST} does not; choose another checkpoint")
            tensors[index.removesuffix(_INDEX) + tensor_files.SUFFIX] = {
                name: tensor for shard in shards for name, tensor in tensor_files.read(folder / shard).items()
            }
            names -= {index, *shards}
        for name in sorted(names):
            if name.endswith(tensor_files.SUFFIX):
                tensors[name] = tensor_files.read(folder / name)
            else:
                documents[name] = read_json(folder / name)
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{folder} cannot be loaded: {error}; choose another checkpoint") from error
    return tensors, documents


def verify(folder: Path) -> str | None:
    """None when the checkpoint is whole, otherwise the reason why not."""
    return _fault(folder)


def _fault(folder: Path, contents: bool = True) -> str | None:
    """contents=False trusts the sizes and does not hash the files."""
    if folder.suffix in (_TEMPORARY, _TRASH):
        return "it is an unfinished write"
    try:
        manifest = _read_manifest(folder)
        for name, entry in manifest["files"].items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            size = path.stat().st_size
            if size != entry["size"]:
                return f"{name} has {size} bytes, its manifest says {entry['size']}"
            if contents and _sha256(path) != entry["sha256"]:
                return f"{name} was altered: its sha256 is not the manifest's"
    except StoreError as error:
        return str(error)
    except OSError as error:
        return f"{error.filename or folder} cannot be read: {error.strerror}"
    return None


def newest_valid(layout: Layout, warn: Warn = _log.warning) -> Path | None:
    """The checkpoint to go on from: the one last.json points at, else the newest that is whole; None when there is none.

    Each one that had to be passed over is named to `warn` with the reason. A `.tmp` is never considered; the `.old` that a kill in the
    middle of a replacement leaves is. Changes nothing on disk."""
    for folder in _candidates(layout):
        reason = _fault(folder)
        if reason is None:
            return folder
        warn(f"checkpoint {folder} is passed over: {reason}")
    return None


def _candidates(layout: Layout) -> Iterator[Path]:
    folders = []
    for step in reversed(_steps(layout)):
        final = layout.checkpoint(step)
        folders += [path for path in (final, _beside(final, _OLD)) if path.exists()]
    pointer = read_pointer(layout.last)
    first = pointer and pointer["checkpoint"]
    yield from sorted(folders, key=lambda folder: folder.name.removesuffix(_OLD) != first)


def _steps(layout: Layout) -> list[int]:
    """Steps that have a folder, or one stepped aside, in rising order."""
    try:
        names = [path.name.removesuffix(_OLD) for path in layout.checkpoints.iterdir() if path.is_dir()]
    except OSError:
        return []
    return sorted({int(match[1]) for name in names if (match := STEP_FOLDER.fullmatch(name))})


# --- deleting --------------------------------------------------------------------------------------------------------------------


def prune(layout: Layout, keep: int, protect: Iterable[int] = (), warn: Warn = _log.warning) -> list[Path]:
    """Delete all but the newest `keep` whole checkpoints, the best, the one last.json points at, and the steps in `protect`.

    A torn one newer than every whole one stays, for a person to look at. A folder is renamed before it is deleted, so a kill leaves no half
    of a checkpoint. What cannot be deleted is named to `warn`, nothing is raised. Wholeness is judged by sizes here: hashing
    gigabytes at every save would cost more than it protects. Returns what was deleted."""
    if keep < 1:
        raise ValueError(f"keep must be at least 1, received {keep}")
    guarded = set(protect)
    for pointer in (layout.last, layout.best):
        step = (read_pointer(pointer) or {}).get("step")
        guarded |= set() if step is None else {step}
    sound, removed = 0, []
    for step in reversed(_steps(layout)):
        folder = layout.checkpoint(step)
        try:
            _settle(folder)
            whole = _fault(folder, contents=False) is None
            if (whole and sound < keep) or step in guarded or (not whole and not sound):
                sound += whole
                continue
            trash = _beside(folder, _TRASH)
            os.rename(folder, trash)
            removed.append(folder)
            shutil.rmtree(trash)
        except OSError as error:
            warn(f"checkpoint {folder} cannot be deleted: {error.strerror}")
    _sweep(layout, warn)
    return removed


def _sweep(layout: Layout, warn: Warn) -> None:
    """Delete what earlier kills left: unfinished writes and half deleted folders."""
    try:
        left = [path for path in layout.checkpoints.iterdir() if path.suffix in (_TEMPORARY, _TRASH) and STEP_FOLDER.fullmatch(path.stem)]
    except OSError:
        return
    for path in left:
        try:
            shutil.rmtree(path)
        except OSError as error:
            warn(f"{path} is left over from an interrupted write and cannot be deleted: {error.strerror}")


# --- the lowest level ------------------------------------------------------------------------------------------------------------


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, judged to the last byte: it carries the hash of its own text. Raises StoreError with a bare reason."""
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MANIFEST_LIMIT:
            raise StoreError(f"{MANIFEST} is larger than {_MANIFEST_LIMIT >> 20} MiB")
        content = path.read_bytes()
        manifest = json.loads(content)
    except FileNotFoundError as error:
        raise StoreError(f"{MANIFEST} is missing, so it was never finished") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{MANIFEST} is torn ({error})") from error
    if not isinstance(manifest, dict) or manifest.pop("sha256", None) is None or content != _manifest(manifest):
        raise StoreError(f"{MANIFEST} was altered")
    if manifest.get("format") != FORMAT or set(manifest) != {"format", "step", "files"}:
        raise StoreError(f"{MANIFEST} has format {manifest.get('format')!r}, this version reads format {FORMAT}")
    match = STEP_FOLDER.fullmatch(folder.name.removesuffix(_OLD))
    if match and int(match[1]) != manifest["step"]:
        raise StoreError(f"{MANIFEST} is of step {manifest['step']}: this folder was renamed")
    for name, entry in manifest["files"].items():
        if not _is_flat(name) or set(entry) != {"sha256", "size"}:
            raise StoreError(f"{MANIFEST} names {name!r}, which is no file of a checkpoint")
    return manifest


def _manifest(body: dict[str, Any]) -> bytes:
    return _json(MANIFEST, {**body, "sha256": hashlib.sha256(_json(MANIFEST, body)).hexdigest()})


def _is_flat(name: str) -> bool:
    return bool(name) and not name.startswith(".") and not any(character in name for character in "/\\:\0")


def _json(file: str, value: Any) -> bytes:
    try:
        return (json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
    except ValueError as error:
        place = _non_finite(value)
        if place is None:
            raise
        raise ValueError(f"{file}: {place} is not finite, and JSON holds finite numbers alone") from error


def _non_finite(value: Any, place: str = "the value") -> str | None:
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{place} = {value}"
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, inner in items:
        found = _non_finite(inner, f"{key}" if place == "the value" else f"{place}.{key}")
        if found:
            return found
    return None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_file(path: Path, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make a rename or a new name in `folder` survive a power cut. File systems that cannot flush a folder say EINVAL."""
    if os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(folder.name + suffix)


def _remove_quietly(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e6:.4f} MB"


def _failure(what: str, path: Path, error: OSError, needed: int) -> StoreError:
    place = path.parent
    if error.errno in _NO_SPACE:
        figures = f"needs {_megabytes(needed)}, {_megabytes(free_space(place))} free at {place}"
        return StoreError(
            f"cannot write {what}: {error.strerror}; {figures}. Free some space, keep fewer checkpoints (checkpoint.keep), "
            "or put the run elsewhere (run.dir). What was written before is untouched"
        )
    where = error.filename or path
    return StoreError(
        f"cannot write {what}: {error.strerror} ({where}). Make that place writable for this user, or put the run "
        "elsewhere (run.dir). What was written before is untouched"
    )
