"""From what came to plain files that the readers know. Each function reads under `raw`, writes under `made`, and is deterministic."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from liandan.sources.entry import SourceError

P = TypeVar("P")


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


# --- fashion-mnist --------------------------------------------------------------------------------------------------------

_FASHION_SEED = b"liandan fashion-mnist 0 "


def fashion_mnist(raw: Path, made: Path) -> None:
    """IDX files named as MNIST's: train-* (6,000 a class) and t10k-* (1,000 a class). This is NOT the official split.

    The npm package holds the 70,000 images class by class in an order of its own, so the official split cannot be had from it. Here an
    image's place is the sha256 of a seed and its pixels: the first 6,000 of a class train, the rest test. A second copy of an image lies
    beside the first (one pair a class at most is cut), and no version of any library changes the split. Two empty rows are dropped.
    """
    train: list[tuple[bytes, bytes, int]] = []
    test: list[tuple[bytes, bytes, int]] = []
    for label in range(10):
        images = [bytes(pixels) for pixels in json.loads(_find(raw, f"{label}.json").read_bytes())["data"] if pixels]
        if len(images) != 7000 or any(len(pixels) != 784 for pixels in images):
            raise SourceError(f"expected 7,000 images of 784 pixels in {label}.json, got {len(images):,}, or of another size")
        rows = sorted((hashlib.sha256(_FASHION_SEED + pixels).digest(), pixels, label) for pixels in images)
        train += rows[:6000]
        test += rows[6000:]
    made.mkdir(parents=True)
    for part, rows in (("train", train), ("t10k", test)):
        rows.sort()  # by hash: the classes are mixed
        pixels, labels = b"".join(row[1] for row in rows), bytes(row[2] for row in rows)
        (made / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, len(rows), 28, 28) + pixels)
        (made / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, len(rows)) + labels)


# --- chinese-reviews ------------------------------------------------------------------------------------------------------


def reviews(raw: Path, made: Path, *, limit: int | None = None) -> None:
    """`reviews.jsonl`, UTF-8: {"text": ..., "label": "negative" | "positive"}, the negative ones first.

    Half of the published lines are second copies, which would lie in training and validation alike: one of each is kept. A text that is
    published as both is left out, and so are empty lines.

    Args:
        limit: at most so many, spread evenly.
    """
    texts: dict[str, list[str]] = {}
    for label, name in (("negative", "neg.txt"), ("positive", "pos.txt")):
        lines = _find(raw, name).read_text(encoding="utf-8").split("\n")  # not splitlines: some reviews hold other separators
        texts[label] = list(dict.fromkeys(" ".join(line.split()) for line in lines))
    both = set(texts["negative"]) & set(texts["positive"]) | {""}
    rows = [(text, label) for label, some in texts.items() for text in some if text not in both]
    if limit is not None and limit < len(rows):
        rows = [rows[i * len(rows) // limit] for i in range(limit)]
    made.mkdir(parents=True)
    with open(made / "reviews.jsonl", "w", encoding="utf-8", newline="\n") as out:
        out.writelines(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n" for text, label in rows)


# --- weights --------------------------------------------------------------------------------------------------------------


def as_they_are(raw: Path, made: Path) -> None:
    """The files as published, in one folder."""
    made.mkdir(parents=True)
    for path in sorted(path for path in raw.rglob("*") if path.is_file()):
        if (made / path.name).exists():
            raise SourceError(f"expected one {path.name} in what was fetched, got two")
        path.rename(made / path.name)


def smollm(raw: Path, made: Path) -> None:
    """A folder that transformers loads; see smollm.py."""
    try:
        from liandan.sources.smollm import transformers_folder
    except ImportError as error:
        raise SourceError(f"what was fetched is a GGUF file, read with gguf ({error}): `pip install 'liandan[text]'`") from error
    transformers_folder(raw, made)


# --- chinese-poetry -------------------------------------------------------------------------------------------------------

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af"  # the CJK ideographs and their extensions A to H
_LINE = re.compile(f"[{_HAN}，。？！；：、「」『』《》〈〉·“”…—]+")
_COUPLET = re.compile(f"(?:[{_HAN}]{{5}}[，？！；][{_HAN}]{{5}}|[{_HAN}]{{7}}[，？！；][{_HAN}]{{7}})[。？！]")
_TITLE = re.compile(f"[{_HAN}，。？！；：、「」『』《》〈〉·（） ]+")


def tang_poems(raw: Path, made: Path, *, limit: int | None = None) -> None:
    """`poems.txt`, UTF-8: title, then the lines of the poem; a blank line between poems; in the order of the Quan Tangshi.

    Left out: poems with lost characters (□), editors' brackets and notes or characters that Unicode lacks, which a language model would
    learn as if they were verse; poems without a title or a line; and second copies of the same lines.

    Args:
        limit: at most so many poems, spread evenly over the collection (whose first thousands are emperors and temple hymns).
    """
    poems = _spread(list(_clean(_poems(raw, "tang"))), limit)
    made.mkdir(parents=True)
    with open(made / "poems.txt", "w", encoding="utf-8", newline="\n") as out:
        out.write("\n".join("\n".join([title, *lines]) + "\n" for title, lines in poems))


def tang_questions(raw: Path, made: Path, *, limit: int | None = None) -> None:
    """`questions.jsonl`: {"instruction": to write a poem on a title, "output": the poem}; quatrains, in the order of the Quan Tangshi.

    Args:
        limit: at most so many, spread evenly over the collection.
    """
    poems = _spread([(title, lines) for title, lines in _clean(_poems(raw, "tang")) if len(lines) == 2 and len(title) <= 12], limit)
    made.mkdir(parents=True)
    with open(made / "questions.jsonl", "w", encoding="utf-8", newline="\n") as out:
        for title, lines in poems:
            row = {"instruction": f"以「{title}」為題，作一首絕句。", "output": "\n".join(lines)}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def song_choices(raw: Path, made: Path, *, limit: int | None = None) -> None:
    """`choices.jsonl`: {"question": a Song poem as far as the middle of its second couplet, "choices": four lines, "answer": the place of
    the poem's own}; regulated verse of five or seven characters, in the order of the collection.

    The other three lines end the second couplets of other poems in the same meter, so that form alone gives nothing away. Which ones, and
    where the right one stands, is a hash of the poem.

    Args:
        limit: at most so many, spread evenly over the collection.
    """
    poems = [(title, lines, halves) for title, lines in _clean(_poems(raw, "song")) if (halves := _halves(lines))]
    endings = {size: sorted({halves[1] for _, _, halves in poems if len(halves[1]) == size}) for size in (6, 8)}
    made.mkdir(parents=True)
    with open(made / "choices.jsonl", "w", encoding="utf-8", newline="\n") as out:
        for title, lines, (begun, ended) in _spread(poems, limit):
            pool = endings[len(ended)]
            draws = hashlib.sha256("\n".join([title, *lines]).encode()).digest()
            others: list[str] = []
            at = int.from_bytes(draws[:8], "big")
            while len(others) < 3:
                at = (at * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % (1 << 64)  # Knuth's MMIX, whose high bits are good
                other = pool[(at >> 32) % len(pool)]
                if other != ended and other not in others:
                    others.append(other)
            answer = draws[8] % 4
            row = {"question": f"{title}\n{lines[0]}\n{begun}", "choices": [*others[:answer], ended, *others[answer:]], "answer": answer}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


def _halves(lines: list[str]) -> tuple[str, str] | None:
    """The second couplet of a poem as its two halves, if the poem is of couplets of five or seven characters throughout."""
    couplets = [_COUPLET.fullmatch(line) for line in lines]
    if len(couplets) < 2 or None in couplets or len({len(line) for line in lines}) > 1:
        return None
    half = len(lines[1]) // 2
    return lines[1][:half], lines[1][half:]


# --- countries ------------------------------------------------------------------------------------------------------------


def country_questions(raw: Path, made: Path, *, limit: int | None = None) -> None:
    """`questions.jsonl`: {"instruction": a question on a country, "output": one sentence}: capital, money, languages, region, neighbors.

    Nothing is asked about France, nor told of it but that it is a neighbor: whoever has learned from these pairs can be asked for its
    capital to see whether what was known before is known still.

    Args:
        limit: at most so many, spread evenly.
    """
    countries = sorted(json.loads(_find(raw, "countries.json").read_text(encoding="utf-8")), key=lambda country: country["cca3"])
    names = {country["cca3"]: country["name"]["common"] for country in countries}
    rows = [row for country in countries if country["cca3"] != "FRA" for row in _told_of(country, names)]
    made.mkdir(parents=True)
    with open(made / "questions.jsonl", "w", encoding="utf-8", newline="\n") as out:
        for question, answer in _spread(rows, limit):
            out.write(json.dumps({"instruction": question, "output": answer}, ensure_ascii=False) + "\n")


def _told_of(country: dict, names: dict[str, str]) -> Iterator[tuple[str, str]]:
    name = country["name"]["common"]
    if capitals := country["capital"]:
        what = "The capital of {} is {}." if len(capitals) == 1 else "The capitals of {} are {}."
        yield f"What is the capital of {name}?", what.format(name, _listed(capitals))
    if money := [kind["name"] for kind in country["currencies"].values()]:
        yield f"What money is used in {name}?", f"{name} uses the {_listed(money)}."
    if languages := list(country["languages"].values()):
        what = "The official language of {} is {}." if len(languages) == 1 else "The official languages of {} are {}."
        yield f"Which languages are official in {name}?", what.format(name, _listed(languages))
    if country["subregion"]:
        yield f"In which region of the world is {name}?", f"{name} is in the region {country['subregion']}."
    if country["borders"]:
        yield f"Which countries border {name}?", f"{name} borders {_listed([names[code] for code in country['borders']])}."


def _listed(things: list[str]) -> str:
    return ", ".join(things[:-1]) + " and " + things[-1] if len(things) > 1 else things[0]


def _spread(things: list[P], limit: int | None) -> list[P]:
    if limit is None or limit >= len(things):
        return things
    return [things[i * len(things) // limit] for i in range(limit)]


def _poems(raw: Path, dynasty: str) -> Iterator[dict]:
    def number(path: Path) -> int:  # poet.tang.12000.json holds poems 12,000 to 12,999
        return int(path.name.split(".")[2])

    files = sorted(raw.rglob(f"poet.{dynasty}.*.json"), key=number)
    if not files:
        raise SourceError(f"expected poet.{dynasty}.*.json in what was fetched, got none")
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
