"""Photographs that are easy to tell apart, and videos of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("猫", "岩石")


def photograph(label: str, number: int, size: int = 40) -> Image.Image:
    """A bright patch, at the top left for one class, at the bottom right for the other."""
    pixels = np.random.default_rng(number).integers(0, 60, (size, size, 3), dtype=np.uint8)
    half = size // 2
    where = (slice(0, half), slice(0, half)) if label == CLASSES[0] else (slice(half, size), slice(half, size))
    pixels[where] += 180
    return Image.fromarray(pixels)


def video(path: Path, labels: list[str], rate: int = 4, size: int = 64) -> Path:
    """A video of photographs, `rate` a second; MPEG-4 in any container."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = size, size, "yuv420p", 4_000_000
        for number, label in enumerate(labels):
            for packet in stream.encode(av.VideoFrame.from_image(photograph(label, number, size))):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
