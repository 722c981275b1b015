"""Files of text: which encoding they are in, found by decoding them once, in pieces."""

from __future__ import annotations

import codecs
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from liandan.data.errors import Unreadable
from liandan.data.fingerprint import file_digest

# Both keep the line feed to itself: no character of several bytes contains 0x0A.
_ENCODINGS = ("utf-8", "gb18030")


@dataclass(frozen=True)
class TextFile:
    """One file: its path, its name below the root, its encoding and where its text starts (after a byte order mark)."""

    path: Path
    name: str
    size: int
    encoding: str
    start: int

    @cached_property
    def checksum(self) -> str:
        """sha256 of the content."""
        return file_digest(self.path)


def examine(path: Path, name: str, encoding: str | None) -> TextFile:
    """Find the encoding by decoding the file once, in pieces; see `read_text`. Raises Unreadable."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise Unreadable(path, error.strerror or "cannot be opened") from error
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Unreadable(path, "UTF-16; save it as UTF-8")
    marked = head.startswith(codecs.BOM_UTF8)
    reason = ""
    for candidate in (encoding,) if encoding else _ENCODINGS[:1] if marked else _ENCODINGS:
        reason = _undecodable(path, candidate)
        if not reason:
            return TextFile(path, name, path.stat().st_size, candidate, len(codecs.BOM_UTF8) if marked else 0)
        if reason == "binary":
            raise Unreadable(path, "binary: it holds a zero byte, which text does not")
    raise Unreadable(path, f"not text in {encoding or ' or '.join(_ENCODINGS)}: {reason}")


def _undecodable(path: Path, encoding: str) -> str:
    """Why a file is not text in this encoding; empty when it is."""
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=encoding)  # refuses codecs that are no text encodings, such as zlib
    except LookupError:
        return f'no encoding "{encoding}"'
    decoder = codecs.getincrementaldecoder(encoding)()
    at = 0
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            if b"\0" in data:
                return "binary"
            try:
                decoder.decode(data)
            except UnicodeDecodeError as error:
                return f"{error.reason} near byte {at + error.start:,}"
            at += len(data)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        return f"{error.reason} at the end of the file"
    return ""
