"""Pictures side by side: every pixel as it was, and a caption below."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from liandan.runs.mosaic import mosaic


def drawn(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_photographs_stay_as_they_are(tmp_path: Path) -> None:
    temple, flower = (photo[:380, :380] for photo in load_sample_images().images)
    pixels = drawn(mosaic(np.stack([temple, flower, temple]), ["寺庙", "花 $1$", "t" * 200], tmp_path / "图/a.png"))
    assert np.array_equal(pixels[6:386, 6:386], temple) and np.array_equal(pixels[6:386, 392:772], flower)
    below = pixels[386:408]
    assert (below[:, 6:386] < 100).any() and (below[:, 392:772] < 100).any()  # captions
    assert (below[:, 386:392] == 255).all()  # and none longer than its picture


def test_small_pictures_are_enlarged_by_a_whole_number(tmp_path: Path) -> None:
    digits = (load_digits(return_X_y=True)[0][:7] * 15).astype(np.uint8).reshape(-1, 8, 8, 1)
    pixels = drawn(mosaic(digits, [str(k) for k in range(7)], tmp_path / "a.png"))
    assert np.array_equal(pixels[6 : 6 + 112 : 14, 6 : 6 + 112 : 14], digits[0].repeat(3, axis=2))
    assert np.array_equal(pixels[6 + 13 : 6 + 112 : 14, 6 : 6 + 112 : 14], digits[0].repeat(3, axis=2))


def test_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one image"):
        mosaic(np.zeros((0, 8, 8, 3), dtype=np.uint8), [], tmp_path / "a.png")
