"""From what came to plain files that the readers know. Each function reads under `raw`, writes under `made`, and is deterministic."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from liandan.sources.entry import SourceError


def _find(raw: Path, name: str) -> Path:
    found = sorted(raw.rglob(name))
    if len(found) != 1:
        raise SourceError(f"expected one {name} in what was fetched, got {len(found)}")
    return found[0]


# --- digits ---------------------------------------------------------------------------------------------------------------


def optdigits_from_sklearn(path: Path) -> None:
    """Write scikit-learn's `load_digits` as the file it was made from: 1,797 lines of 64 pixels (0..16) and the digit."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)  # float64 (1797, 64), int64 (1797,)
    rows = [",".join(str(int(v)) for v in (*pixels, digit)) for pixels, digit in zip(images, labels, strict=True)]
    path.write_bytes(("\n".join(rows) + "\n").encode("ascii"))


def digits(raw: Path, made: Path) -> None:
    """`<digit>/<number>.png`, 8x8 grey, 0..255; the number is the row in optdigits.tes, so that every copy is named alike."""
    rows = _find(raw, "optdigits.tes").read_text(encoding="ascii").splitlines()
    for number, row in enumerate(rows):
        *pixels, digit = (int(value) for value in row.split(","))
        folder = made / str(digit)
        folder.mkdir(parents=True, exist_ok=True)
        grey = bytes((value * 255 + 8) // 16 for value in pixels)
        (folder / f"{number:04d}.png").write_bytes(png(grey, width=8, height=8))


def digit_pairs(raw: Path, made: Path) -> None:
    """`images/<number>.png`, two digits side by side, 8x16 grey; `pairs.csv`: each one's digits joined by `|`, the left and the right.

    Picture n holds rows 2n and 2n + 1 of optdigits.tes.
    """
    rows = [[int(value) for value in row.split(",")] for row in _find(raw, "optdigits.tes").read_text(encoding="ascii").splitlines()]
    (made / "images").mkdir(parents=True)
    lines = ["path,digits,left,right"]
    for number, (left, right) in enumerate(zip(rows[0::2], rows[1::2], strict=False)):
        both = [value for y in range(0, 64, 8) for row in (left, right) for value in row[y : y + 8]]
        (made / "images" / f"{number:03d}.png").write_bytes(png(bytes((value * 255 + 8) // 16 for value in both), width=16, height=8))
        digits = "|".join(map(str, sorted({left[-1], right[-1]})))
        lines.append(f"images/{number:03d}.png,{digits},{left[-1]},{right[-1]}")
    (made / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="ascii")


def png(grey: bytes, width: int, height: int) -> bytes:
    """An 8-bit grey PNG (W3C "Portable Network Graphics", 2003), stored without compression.

    Written by hand so that the bytes are the same whatever the version of an image library or of zlib: the cache is known by its hashes.
    """

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits, grey, no interlace
    lines = b"".join(b"\0" + grey[i * width : (i + 1) * width] for i in range(height))  # each line: filter 0, pixels
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 0)) + chunk(b"IEND", b"")


# --- mnist ----------------------------------------------------------------------------------------------------------------


def mnist(raw: Path, made: Path) -> None:
    """The four IDX files under their own names: train-* (60,000) and t10k-* (10,000)."""
    made.mkdir(parents=True)
    for part in ("train", "t10k"):
        for name in (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"):
            _find(raw, name).rename(made / name)


# --- chinese-poetry -------------------------------------------------------------------------------------------------------

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af"  # the CJK ideographs and their extensions A to H
_LINE = re.compile(f"[{_HAN}，。？！；：、「」『』《》〈〉·“”…—]+")
_TITLE = re.compile(f"[{_HAN}，。？！；：、「」『』《》〈〉·（） ]+")


def tang_poems(raw: Path, made: Path, *, limit: int | None = None) -> None:
    """`poems.txt`, UTF-8: title, then the lines of the poem; a blank line between poems; in the order of the Quan Tangshi.

    Left out: poems with lost characters (□), editors' brackets and notes or characters that Unicode lacks, which a language model would
    learn as if they were verse; poems without a title or a line; and second copies of the same lines.

    Args:
        limit: at most so many poems, spread evenly over the collection (whose first thousands are emperors and temple hymns).
    """
    poems = list(_clean(_tang(raw)))
    if limit is not None and limit < len(poems):
        poems = [poems[i * len(poems) // limit] for i in range(limit)]
    made.mkdir(parents=True)
    with open(made / "poems.txt", "w", encoding="utf-8", newline="\n") as out:
        out.write("\n".join("\n".join([title, *lines]) + "\n" for title, lines in poems))


def _tang(raw: Path) -> Iterator[dict]:
    def number(path: Path) -> int:  # poet.tang.12000.json holds poems 12,000 to 12,999
        return int(path.name.split(".")[2])

    files = sorted(raw.rglob("poet.tang.*.json"), key=number)
    if not files:
        raise SourceError("expected poet.tang.*.json in what was fetched, got none")
    for path in files:
        yield from json.loads(path.read_text(encoding="utf-8"))


def _clean(poems: Iterator[dict]) -> Iterator[tuple[str, list[str]]]:
    seen: set[tuple[str, ...]] = set()
    for poem in poems:
        title = " ".join(poem["title"].split())
        lines = [line for paragraph in poem["paragraphs"] for line in paragraph.split()]
        if lines and _TITLE.fullmatch(title) and all(map(_LINE.fullmatch, lines)) and tuple(lines) not in seen:
            seen.add(tuple(lines))
            yield title, lines
