"""A small folder of photographs, good ones and broken ones among them, with Chinese names throughout."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

ODD = ("猫/印刷.jpg", "猫/十六位.png", "狗/动画.gif", "狗/横放.jpg")  # unusual, and good
# file: a word of the reason why it cannot be read
BROKEN = {"猫/半张.jpg": "truncated", "猫/空.jpg": "empty", "狗/其实是文字.jpg": "not an image", "狗/炸弹.png": "pixels"}


def pattern(side: int, seed: int) -> np.ndarray:
    """uint8 (side, side, 3): gradients, no two seeds alike; the classes differ in their direction."""
    y, x = np.mgrid[0:side, 0:side]
    rows = [127 + 120 * np.sin((seed + 1) * (k + 1) * 0.7 + (x if seed % 2 else y) / (3 + k)) for k in range(3)]
    return np.stack(rows, axis=-1).astype(np.uint8)


def good(root: Path, each: int = 20, side: int = 40) -> Path:
    """Two classes, `each` JPEGs a class."""
    for label, name in enumerate(("猫", "狗")):
        (root / name).mkdir(parents=True, exist_ok=True)
        for n in range(each):
            Image.fromarray(pattern(side, 2 * n + label)).save(root / name / f"照片{n:02d}.jpg", quality=92)
    return root


def odd(root: Path) -> None:
    """What is rare and must work: CMYK, 16 bits, several frames, a rotation that stands in the metadata."""
    Image.fromarray(pattern(40, 100)).convert("CMYK").save(root / ODD[0])
    Image.fromarray((pattern(40, 101)[..., 0].astype(np.uint16)) * 257).save(root / ODD[1])
    frames = [Image.fromarray(pattern(40, seed)) for seed in (103, 105, 107)]
    frames[0].save(root / ODD[2], save_all=True, append_images=frames[1:], duration=50)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pattern(40, 109)[:30]).save(root / ODD[3], exif=exif)


def broken(root: Path) -> None:
    """What cannot be read."""
    whole = io.BytesIO()
    Image.fromarray(pattern(40, 200)).save(whole, format="JPEG")
    (root / "猫/半张.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (root / "猫/空.jpg").write_bytes(b"")
    (root / "狗/其实是文字.jpg").write_text("这不是图片\n" * 50, encoding="utf-8")
    (root / "狗/炸弹.png").write_bytes(bomb(30_000))


def bomb(side: int) -> bytes:
    """A sound PNG of side x side black pixels, one bit each: about a hundred kilobytes that want side * side bytes once decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = bytes(1 + (side + 7) // 8)
    squeeze = zlib.compressobj(9)
    data = b"".join([*(squeeze.compress(row * 100) for _ in range(side // 100)), squeeze.flush()])
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
