"""Many small pictures as one, each with a line of text below it, pixel for pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from liandan.runs import plots

_SMALLEST = 112  # pixels a side: smaller pictures are enlarged by a whole number
_GAP, _LINE = 6, 22  # pixels between pictures, and of a line of text
_FONT, _LETTER = 11, 6.5  # pixels: height of the captions, width of a Latin letter


def mosaic(images: np.ndarray, captions: Sequence[str], path: Path) -> Path:
    """Draw uint8 images (N, height, width, 1 or 3) row by row into a PNG; raises ValueError without an image."""
    if not len(images):
        raise ValueError("a mosaic needs at least one image")
    factor = max(1, math.ceil(_SMALLEST / max(images.shape[1:3])))
    tiles = np.broadcast_to(images, (*images.shape[:3], 3)).repeat(factor, axis=1).repeat(factor, axis=2)
    count, height, width, _ = tiles.shape
    columns = max(1, round(math.sqrt(count * (height + _LINE) / width)))
    rows = math.ceil(count / columns)
    canvas = np.full((rows * (height + _LINE + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), 255, dtype=np.uint8)
    with plots._style(list(captions)):
        # a little more than the canvas, for matplotlib rounds down
        drawn = plots._new((canvas.shape[1] + 0.01) / plots._DPI, (canvas.shape[0] + 0.01) / plots._DPI)
        drawn.set_layout_engine("none")
        axes = drawn.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        for k in range(count):
            top, left = (k // columns) * (height + _LINE + _GAP) + _GAP, (k % columns) * (width + _GAP) + _GAP
            canvas[top : top + height, left : left + width] = tiles[k]
            text = plots._fitting(captions[k], int(width / _LETTER))
            text += "" if text == captions[k] else "…"
            size = _FONT * 72 / plots._DPI
            axes.text(left + width / 2, top + height + _LINE / 2, plots._text(text), fontsize=size, ha="center", va="center")
        axes.imshow(canvas, interpolation="nearest", aspect="auto", extent=(0, canvas.shape[1], canvas.shape[0], 0))
        return plots._save(drawn, path)
