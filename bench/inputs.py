"""Data of the benchmarks: fetched from the catalogue of sources, or drawn from a fixed seed where content does not matter."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

_TEXT_BYTES = 1_000_000
_HELD_OUT = 0.1


def digits(folder: Path, quick: bool, count: int = 60_000) -> Path:
    """MNIST's IDX files; with `quick`, `count` random images in the same form."""
    if not quick:
        from liandan import sources

        return sources.get("mnist")
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for split in ("train", "t10k"):
        write_idx(folder / f"{split}-images-idx3-ubyte", draw.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        write_idx(folder / f"{split}-labels-idx1-ubyte", draw.integers(0, 10, count, dtype=np.uint8))
    return folder


def write_idx(file: Path, values: np.ndarray) -> None:
    """An array of unsigned bytes in MNIST's format."""
    file.write_bytes(bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes())


def as_torchvision(idx: Path, root: Path) -> Path:
    """The folder torchvision.datasets.MNIST looks into, with links to IDX files."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for file in sorted(idx.glob("*ubyte")):
        if not (raw / file.name).exists():
            (raw / file.name).symlink_to(file.resolve())
    return root


def photos(folder: Path, count: int, side: int, classes: int = 8) -> Path:
    """`count` JPEG files of smooth random color, side x side, in class folders: as large and as slow to decode as photographs."""
    from PIL import Image

    draw = np.random.default_rng(1)
    for i in range(count):
        to = folder / f"class-{i % classes}"
        to.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(draw.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(to / f"{i:05d}.jpg", quality=90)
    return folder


def random_tokens(file: Path, count: int, vocabulary: int) -> Path:
    """A .npy of uniformly random token ids."""
    np.save(file, np.random.default_rng(2).integers(0, vocabulary, count, dtype=np.uint16))
    return file


def poems(folder: Path, size: int = _TEXT_BYTES) -> tuple[Path, Path]:
    """(training text, held-out text): the first `size` bytes of the Tang poems cut between poems, the last tenth held out."""
    from liandan import sources

    source = sources.get("chinese-poetry")
    file = source if source.is_file() else min(source.rglob("*.txt"))
    text = file.read_bytes()[:size].decode("utf-8", "ignore")
    whole = text[: text.rindex("\n\n") + 2]
    cut = whole.index("\n\n", round(len(whole) * (1 - _HELD_OUT))) + 2
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train.txt", whole[:cut]), ("val.txt", whole[cut:])):
        (folder / name).write_text(part, encoding="utf-8", newline="\n")
    return folder / "train.txt", folder / "val.txt"


def tokens_of(train: Path, val: Path, context: int) -> tuple[Path, Path, int]:
    """The same texts as .npy of liandan's own character tokens, and the size of the vocabulary: a peer reads what liandan reads."""
    from liandan.data.readers import read
    from liandan.data.text_pipeline import TextPipeline

    pipeline = TextPipeline.fit(read(train), text={"tokenizer": "characters", "context": context})
    for file in (train, val):
        np.save(file.with_suffix(".npy"), pipeline.samples(read(file), training=False).tokens)
    return train.with_suffix(".npy"), val.with_suffix(".npy"), pipeline.vocab_size


def sparse_tokens(file: Path, count: int) -> Path:
    """A .bin of `count` uint16 zeros that takes no room on the disk: a hole."""
    with file.open("wb") as handle:
        handle.truncate(2 * count)
    return file
