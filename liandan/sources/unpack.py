"""Archives, without trusting them: nothing is written outside the folder, no link or device is made, nothing grows without bound.

Hashes are checked before anything comes here; these checks stand even for an archive whose hash is right.
"""

from __future__ import annotations

import fnmatch
import gzip
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from liandan.sources.entry import SourceError

_BLOCK = 1 << 20
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, UnicodeError)
_RATIO_FLOOR = 1 << 20  # bytes; below this no ratio is judged: a tiny archive of zeros harms nobody


@dataclass(frozen=True)
class Limits:
    """Attributes:
    files: members of an archive, wanted or not.
    size: bytes of all members, wanted or not: even what is skipped must be decompressed.
    ratio: those bytes to the bytes of the archive.
    """

    files: int = 500_000
    size: int = 50 << 30
    ratio: float = 200.0


class _Budget:
    """Counts against the limits while an archive is read; the error names the archive and the limit."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        self.archive, self.limits = archive, limits
        self.packed = archive.stat().st_size
        self.files = self.size = 0

    def member(self) -> None:
        self.files += 1
        if self.files > self.limits.files:
            raise _unsafe(self.archive, f"it has more than {self.limits.files:,} members")

    def grow(self, count: int) -> None:
        self.size += count
        if self.size > self.limits.size:
            raise _unsafe(self.archive, f"it unpacks to more than {self.limits.size:,} bytes")
        if self.size > max(_RATIO_FLOOR, self.limits.ratio * self.packed):
            raise _unsafe(self.archive, f"it unpacks to more than {self.limits.ratio:g} times its own {self.packed:,} bytes")


def unpack(archive: Path, folder: Path, wanted: tuple[str, ...] = ("*",), limits: Limits | None = None) -> list[Path]:
    """Unpack a tar (plain, gz, bz2, xz), a zip, a wheel, the files of a Debian package or a single .gz into `folder`.

    Any other file is copied there as it is.

    Args:
        wanted: patterns (fnmatch, `*` also matches `/`) of the member names to write. The others are passed over.

    Returns:
        The paths written, in the order of the archive.

    Raises:
        SourceError: a wanted member with an unsafe name (absolute, `..`, a drive, a control character), a link, a device, a second member
            of the same name; more files, bytes or compression than `limits`; an archive that is damaged.
    """
    budget = _Budget(archive, limits or Limits())
    folder.mkdir(parents=True, exist_ok=True)
    name = archive.name.lower()
    try:
        if name.endswith((".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")):
            return list(_tar(archive, folder, wanted, budget))
        if name.endswith(".deb"):
            return list(_deb(archive, folder, wanted, budget))
        if name.endswith((".zip", ".whl")):
            return list(_zip(archive, folder, wanted, budget))
        if name.endswith(".gz"):
            with gzip.open(archive, "rb") as content:
                return [_write(content, folder / archive.name[:-3], budget)]
        return [Path(shutil.copyfile(archive, folder / archive.name))]
    except _DAMAGE as error:
        raise SourceError(f"{archive} cannot be unpacked, it is damaged or of a kind not known: {error}") from error


def _tar(archive: Path, folder: Path, wanted: tuple[str, ...], budget: _Budget) -> Iterator[Path]:
    with tarfile.open(archive, "r:*") as members:
        yield from _members(members, archive, folder, wanted, budget)


def _deb(archive: Path, folder: Path, wanted: tuple[str, ...], budget: _Budget) -> Iterator[Path]:
    """deb(5): an ar archive that holds debian-binary, control.tar.* (scripts, never looked at) and data.tar.* (the files)."""
    with open(archive, "rb") as content:
        if content.read(8) != b"!<arch>\n":
            raise tarfile.ReadError("it is no ar archive")
        while header := content.read(60):  # name 16, time 12, owner 6, group 6, mode 8, size 10 in decimal, end 2
            name, size, end = header[:16].decode("ascii").strip(), header[48:58], header[58:]
            if end != b"`\n" or not size.strip().isdigit():
                raise tarfile.ReadError("a header of the ar archive is broken")
            if name.startswith("data.tar"):
                kind = name.removeprefix("data.tar").strip("./")
                with tarfile.open(fileobj=content, mode=f"r|{kind}") as members:  # type: ignore[call-overload]
                    yield from _members(members, archive, folder, wanted, budget)
                return
            content.seek(int(size) + int(size) % 2, 1)
    raise tarfile.ReadError("it holds no data.tar")


def _members(members: tarfile.TarFile, archive: Path, folder: Path, wanted: tuple[str, ...], budget: _Budget) -> Iterator[Path]:
    for member in members:
        budget.member()
        if member.isdir():
            continue  # the folders that files need are made with them
        if not _matches(member.name, wanted):
            budget.grow(member.size if member.isfile() else 0)
            continue
        if not member.isfile():
            raise _unsafe(archive, f"member {member.name!r} is a link or a device")
        target = _target(archive, folder, member.name)
        content = members.extractfile(member)
        if content is None:
            raise _unsafe(archive, f"member {member.name!r} has no content")
        yield _write(content, target, budget)


def _zip(archive: Path, folder: Path, wanted: tuple[str, ...], budget: _Budget) -> Iterator[Path]:
    with zipfile.ZipFile(archive) as members:
        for member in members.infolist():
            budget.member()
            if member.is_dir() or not _matches(member.filename, wanted):
                continue  # a zip is not read in order: what is skipped is not decompressed
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise _unsafe(archive, f"member {member.filename!r} is a link or a device")
            if member.flag_bits & 1:
                raise _unsafe(archive, f"member {member.filename!r} is encrypted")
            target = _target(archive, folder, member.filename)
            with members.open(member) as content:
                yield _write(content, target, budget)


def _matches(name: str, wanted: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)


def _target(archive: Path, folder: Path, name: str) -> Path:
    """Where a member goes. What another system would read as a drive, a stream or a separator is refused on every system."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or re.search(r"[\x00-\x1f\\:]", name):
        raise _unsafe(archive, f"member {name!r} has a name that leads out of the folder or is no file name")
    target = folder.joinpath(*path.parts)
    if target.exists():
        raise _unsafe(archive, f"member {name!r} comes twice")
    return target


def _write(content: IO[bytes] | gzip.GzipFile, target: Path, budget: _Budget) -> Path:
    """Copy, counting the bytes that really come: the size that a header declares is only a claim."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "xb") as out:  # x: never through anything that already stands there
        while block := content.read(_BLOCK):
            budget.grow(len(block))
            out.write(block)
    return target


def _unsafe(archive: Path, reason: str) -> SourceError:
    return SourceError(f"{archive} is refused: {reason}. Nothing of it is used.")
