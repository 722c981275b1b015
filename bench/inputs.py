"""Data of the benchmarks: fetched from the catalogue of sources, or drawn from a fixed seed where content does not matter."""

from __future__ import annotations

import json
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


def conversations(folder: Path, model: Path, count: int, tokens: int) -> tuple[Path, Path]:
    """(JSONL of `count` conversations of poems, .npz of their rows in the order of liandan's first epoch).

    Each has as many turns as fill `tokens` tokens of the model's own, and is cut there. The rows are liandan's own: ids and labels, int64
    (count, tokens); -100 is not learned.
    """
    from liandan import sources
    from liandan.data.chat_pipeline import ChatPipeline
    from liandan.data.order import Order
    from liandan.data.readers import read
    from liandan.models import defaults

    pairs = read(sources.get("poem-questions"))
    text = {"tokenizer": "auto", "context": tokens - 1, "template": "auto"}
    pipeline = ChatPipeline.fit(pairs.subset(np.arange(1)), text=text, defaults=defaults(f"hf/{model}"))
    made, turns, at = [], [], 0
    while len(made) < count:
        turns += [{"role": m.role, "content": m.content} for m in pairs.messages(at)]
        at += 1
        if len(pipeline.prompt([*turns, {"role": "user", "content": ""}])) >= tokens + 32:  # the template closes with a few more
            made.append({"messages": turns})
            turns = []
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "conversations.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), encoding="utf-8")
    samples = pipeline.samples(read(file), training=True)
    order = np.concatenate([indices for indices, _ in Order(count, 4, seed=0).steps(0, count // 4)])
    encoded = [samples.sample(int(i)) for i in order]
    ids = np.stack([s["ids"].numpy() for s in encoded])
    learned = np.stack([s["weights"].numpy() for s in encoded]) > 0
    assert ids.shape == (count, tokens)
    np.savez(folder / "rows.npz", ids=ids, labels=np.where(learned, ids, -100))
    return file, folder / "rows.npz"
