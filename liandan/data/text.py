"""Format `text`: one text file, a folder of .txt files, or a file of rows with a text each.

A text is a list of documents, each a span of bytes of a file: what blank lines separate. The spans of a file join without a
gap (a document owns the blank lines after it), so taking all documents gives the file back byte for byte, and a file of any
size is read in constant memory.
"""

from __future__ import annotations

import codecs
import mmap
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from liandan.data.errors import DataError, Unreadable
from liandan.data.files import hidden, shown, walk
from liandan.data.fingerprint import digest, file_digest
from liandan.data.kept import kept
from liandan.data.rows import SUFFIXES, BadRow, Rows, first_row, judged
from liandan.data.text_files import TextFile, examine

COLUMN = "text"  # of a file of rows
PIECE = 1 << 16  # bytes read, decoded and encoded at a time
_BLANK_LINES = re.compile(rb"\n[ \t\r]*(?:\n[ \t\r]*)*\n")  # the encodings that are known keep the line feed to itself


@dataclass(frozen=True)
class TextSource:
    """Documents.

    Attributes:
        spans: int64 (N, 3): file, first byte, byte after the last.
        notes: what a person should know (another encoding than UTF-8).
    """

    path: Path
    files: list[TextFile]
    spans: np.ndarray
    notes: list[str]

    format = "text"
    labels = None
    targets = None

    def __len__(self) -> int:
        return len(self.spans)

    def __repr__(self) -> str:
        return f"TextSource({self.path}, {len(self)} documents, {self.nbytes:,} bytes)"

    @property
    def nbytes(self) -> int:
        """Bytes of the spans, as stored."""
        return int((self.spans[:, 2] - self.spans[:, 1]).sum())

    def text(self, i: int) -> str:
        """One document."""
        return "".join(self._decoded(self.spans[i : i + 1], 1 << 20))

    def pieces(self, size: int = PIECE) -> Iterator[str]:
        """The whole text in order, in pieces of about `size` bytes that end at the end of a line where there is one.

        The cuts are a function of the text and of `size` alone: what a tokenizer sees is the same on every run.
        """
        waiting = ""
        for part in self._decoded(_merged(self.spans), size):
            waiting += part
            if len(waiting) < size // 2:  # a character is one to four bytes
                continue
            cut = waiting.rfind("\n") + 1 or len(waiting)
            yield waiting[:cut]
            waiting = waiting[cut:]
        if waiting:
            yield waiting

    def _decoded(self, spans: np.ndarray, size: int) -> Iterator[str]:
        for k, start, stop in spans.tolist():
            decoder = codecs.getincrementaldecoder(self.files[k].encoding)()
            with self.files[k].path.open("rb") as file:
                file.seek(start)
                while start < stop:
                    data = file.read(min(size, stop - start))
                    if not data:
                        raise Unreadable(self.files[k].path, f"ends at byte {start:,}, expected {stop:,}: it changed meanwhile")
                    start += len(data)
                    try:
                        yield decoder.decode(data, final=start >= stop)
                    except UnicodeDecodeError as error:  # it decoded when it was opened
                        raise Unreadable(self.files[k].path, f"{error.reason} before byte {start:,}: it changed meanwhile") from error

    def target(self, i: int) -> int | None:
        return None

    def name(self, i: int) -> str:
        """ "poems.txt:1200-1500": file and bytes."""
        k, start, stop = self.spans[i].tolist()
        return f"{self.files[k].name}:{start}-{stop}"

    def subset(self, indices: np.ndarray) -> TextSource:
        return self.with_spans(self.spans[np.asarray(indices, dtype=np.int64)])

    def with_spans(self, spans: np.ndarray) -> TextSource:
        return replace(self, spans=np.asarray(spans, dtype=np.int64).reshape(-1, 3))

    def manifest(self) -> list[list[Any]]:
        return sorted([file.name, file.size, file.checksum] for file in self.files)

    def content(self) -> list[Any]:
        """All that the text depends on: the bytes, how they are read, and which of them."""
        return [*([file.checksum, file.encoding] for file in self.files), digest(_merged(self.spans).tolist())]

    def fingerprint(self) -> dict[str, Any]:
        manifest = self.manifest()
        return {
            "format": self.format,
            "count": len(self),
            "bytes": sum(row[1] for row in manifest),
            "files": digest(manifest),
            "labels": None,
            "samples": digest(_merged(self.spans).tolist()),
        }


def read_text(path: Path, encoding: str | None = None, text: str = COLUMN) -> TextSource:
    """Read a text file, every .txt under a folder, sorted by path, or a file of rows with a text each.

    Args:
        path: the file or folder.
        encoding: of every file; default UTF-8 (with or without a byte order mark), and GB 18030 where that fails, with a note.
        text: of a file of rows, the key or column of the text.

    Raises:
        DataError: no file, or no text in them.
        BadRows: rows without a text.
        Unreadable: a file is binary or in another encoding.
    """
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return _read_rows(path, encoding, text)
    if path.is_dir():
        found = [f for f in walk(path) if f.relative.lower().endswith(".txt") and not any(hidden(p) for p in Path(f.relative).parts)]
        listed = sorted((shown(f.relative), path / f.relative) for f in found)
        if not listed:
            raise DataError(f"{path}: expected a text file, or a folder with .txt files; found no .txt file")
    else:
        listed = [(path.name, path)]
    files = [examine(file, name, encoding) for name, file in listed]
    spans = np.concatenate([_documents(file, k) for k, file in enumerate(files)])
    if len(spans) == 0:
        raise DataError(f"{path}: expected text, found {len(files)} empty file(s)")
    notes = [f"{f.name} is not UTF-8: read as {f.encoding}" for f in files if f.encoding != "utf-8" and encoding is None]
    return TextSource(path, files, spans, notes)


def looks_like_text(path: Path) -> bool:
    """Whether the first row of a file has a text, under the key that is read unless the recipe says otherwise."""
    row = first_row(path)
    return isinstance(row, Mapping) and isinstance(row.get(COLUMN), str)


def _read_rows(path: Path, encoding: str | None, column: str) -> TextSource:
    """The texts of a file of rows, one after the other in a file of the cache, a document each."""

    def said(row: Any) -> bytes:
        if not isinstance(row, Mapping) or not isinstance(row.get(column), str):
            raise BadRow(f'expected text under "{column}", got {row!r:.60}')
        return f"{row[column].strip()}\n\n".encode(errors="backslashreplace")

    def parts() -> Iterator[dict[str, np.ndarray]]:
        for _, data in judged(rows, said, "texts", lambda row: f'{{"{column}": "..."}}'):
            yield {"text": np.frombuffer(data, dtype=np.uint8), "length": np.array([len(data)])}

    rows = Rows(path, encoding, [column])
    facts = {"texts of": file_digest(path), "suffix": path.suffix.lower(), "encoding": encoding, "column": column}
    found = kept(facts, parts)
    written = found["text"]
    if not isinstance(written, np.memmap) or written.filename is None:
        raise DataError(f"{path}: its texts need a cache folder that can be written; set LIANDAN_HOME to one")
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(found["length"])])
    spans = np.stack([np.zeros(len(starts) - 1, np.int64), starts[:-1], starts[1:]], axis=1)
    return TextSource(path, [TextFile(Path(written.filename), path.name, len(written), "utf-8", 0)], spans, rows.notes)


def parse_span(source: TextSource, name: str) -> list[int]:
    """`TextSource.name` backwards -> [file, start, stop]; raises DataError."""
    file, _, span = name.rpartition(":")
    start, _, stop = span.partition("-")
    names = [f.name for f in source.files]
    if file not in names or not (start.isdigit() and stop.isdigit()) or int(stop) > source.files[names.index(file)].size:
        raise DataError(f"{source.path}: no document {name}; the text is not the one the split was made of")
    return [names.index(file), int(start), int(stop)]


def _documents(file: TextFile, k: int) -> np.ndarray:
    """int64 (n, 3): the documents of one file; empty without text."""
    if file.size <= file.start:
        return np.zeros((0, 3), dtype=np.int64)
    with file.path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        starts = np.array([file.start, *(m.end() for m in _BLANK_LINES.finditer(data, file.start))], dtype=np.int64)
    starts = starts[starts < file.size]
    stops = np.append(starts[1:], file.size)
    return np.stack([np.full_like(starts, k), starts, stops], axis=1)


def _merged(spans: np.ndarray) -> np.ndarray:
    """Neighboring spans joined: the same bytes in as few reads as possible."""
    if len(spans) < 2:
        return spans
    first = np.ones(len(spans), dtype=np.bool_)
    first[1:] = (spans[1:, 0] != spans[:-1, 0]) | (spans[1:, 1] != spans[:-1, 2])
    starts = np.flatnonzero(first)
    stops = np.append(starts[1:], len(spans)) - 1
    return np.stack([spans[starts, 0], spans[starts, 1], spans[stops, 2]], axis=1)
