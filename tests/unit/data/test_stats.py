from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import entropy

from liandan.data.readers import read
from liandan.data.split import hold_out
from liandan.data.stats import class_counts, statistics


def test_of_photos(photos: Path) -> None:
    (photos / "狗/cut.png").write_bytes(b"")
    Image.new("LA", (300, 10)).save(photos / "狗/wide.png")
    found = statistics(read(photos))
    assert found.count == 14 and found.classes == {"狗": 8, "猫": 6} and found.unreadable == 1
    assert found.modes == {"JPEG RGB": 12, "PNG LA": 1} and found.bytes == sum(f.stat().st_size for f in photos.rglob("*.*"))
    assert found.width == [95, 110, 300] and found.height == [10, 104, 125]  # medians of 13
    assert found.balance["majority"] == 8 / 14 and found.balance["effective"] == pytest.approx(np.exp(entropy([8, 6])))
    assert json.loads(json.dumps(found.to_json()))["sizes"]["300 x 10"] == 1


def test_of_arrays_and_of_text(tmp_path: Path, write_idx, digits) -> None:
    write_idx(tmp_path / "mnist/train-images-idx3-ubyte", digits[0])
    write_idx(tmp_path / "mnist/train-labels-idx1-ubyte", digits[1])
    found = statistics(read(tmp_path / "mnist"))
    assert found.sizes == {"8 x 8": 1797} and list(found.classes.values()) == np.bincount(digits[1]).tolist()
    assert found.balance["effective"] == pytest.approx(10, abs=0.01)
    (tmp_path / "诗.txt").write_text("床前明月光\n\n疑是地上霜\n", encoding="utf-8")
    text = statistics(read(tmp_path / "诗.txt"))
    assert text.count == 2 and text.bytes == 33 and text.classes == {} and text.balance == {}


def test_every_sample_can_be_held_out(tmp_path: Path) -> None:
    """103 samples at a fraction of 0.3: cut into whole folds 13 of them could never be; each class gives its share, in every draw."""
    for n in range(103):
        folder = tmp_path / ("甲" if n < 70 else "乙")
        folder.mkdir(exist_ok=True)
        Image.new("L", (2, 2), n).save(folder / f"{n}.png")
    source = read(tmp_path)
    held: set[str] = set()
    for seed in range(40):
        _, val, names = hold_out(source, 0.3, seed=seed)
        assert class_counts(val) == {"乙": 10, "甲": 21}
        held.update(names)
    assert len(held) == 103
