"""Copies are found whatever was done to the file, and different pictures are not taken for copies."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from liandan.data.check import check, check_splits
from liandan.data.duplicates import SHAPE, _candidates, alike, difference_hash, groups, thumbnail
from liandan.data.images import decode
from liandan.data.readers import read
from tests.unit.data.conftest import pattern


def crops(side: int) -> list[Image.Image]:
    """scikit-learn's two photographs, a temple and a flower, cut into squares."""
    out = []
    for photo in load_sample_images().images:
        for top in range(0, photo.shape[0] - side + 1, side):
            out += [Image.fromarray(photo[top : top + side, left : left + side]) for left in range(0, photo.shape[1] - side + 1, side)]
    return out


def thumb(image: Image.Image) -> np.ndarray:
    return thumbnail(torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1))


def saved(image: Image.Image, **how: object) -> Image.Image:
    content = io.BytesIO()
    image.save(content, **how)  # type: ignore[arg-type]
    return Image.open(content)


CHANGES = {
    "jpeg 90": lambda image: saved(image, format="JPEG", quality=90),
    "jpeg 40": lambda image: saved(image, format="JPEG", quality=40),
    "webp": lambda image: saved(image, format="WEBP", quality=70),
    "half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "a third, bilinear": lambda image: image.resize((image.width // 3, image.height // 3), Image.Resampling.BILINEAR),
    "twice": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC),
    "half and jpeg 60": lambda image: saved(image.resize((image.width // 2, image.height // 2)), format="JPEG", quality=60),
    "palette": lambda image: image.quantize(64),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_changed_copy_is_found_and_nothing_else(change: str) -> None:
    """60 squares of two photographs, each with a copy: exactly the 60 pairs."""
    originals = crops(96)
    thumbs = np.stack([thumb(image) for image in originals] + [thumb(CHANGES[change](image)) for image in originals])
    n = len(originals)
    found = alike(thumbs)
    flat = {i for i in range(n) if thumbs[i].std() < 6}  # plain sky: squares of it do look alike
    assert n >= 40 and {(i, i + n) for i in range(n)} <= set(found), change
    assert {pair for pair in found if pair[1] != pair[0] + n and not {pair[0] % n, pair[1] % n} <= flat} == set()


def test_digits_are_no_copies_of_one_another(digits: tuple[np.ndarray, np.ndarray]) -> None:
    """All 1.6 million pairs of 1,797 digits: hashes alone would take thousands for copies."""
    images, targets = digits
    thumbs = np.stack([thumbnail(torch.from_numpy(image)[None]) for image in images])
    pairs = alike(thumbs)
    assert all(targets[i] == targets[j] for i, j in pairs) and len(pairs) <= 5, pairs
    close = sum(len(first) for first, _ in _candidates(difference_hash(thumbs)))
    assert close > 1000


def test_bands_miss_no_pair() -> None:
    """Against all pairs, compared one by one: every pair of hashes within 8 bits."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**63, size=40, dtype=np.uint64)
    hashes = np.concatenate([base, *(base ^ _flips(rng, len(base), k) for k in (0, 1, 4, 8, 9, 20))])
    expected = {(i, j) for i in range(len(hashes)) for j in range(i + 1, len(hashes)) if int(hashes[i] ^ hashes[j]).bit_count() <= 8}
    found = {(min(i, j), max(i, j)) for a, b in _candidates(hashes) for i, j in zip(a.tolist(), b.tolist(), strict=True)}
    assert found == expected and len(expected) > 200


def _flips(rng: np.random.Generator, n: int, bits: int) -> np.ndarray:
    out = np.zeros(n, dtype=np.uint64)
    for i in range(n):
        for bit in rng.choice(64, size=bits, replace=False):
            out[i] |= np.uint64(1) << np.uint64(bit)
    return out


def test_the_hash_of_a_ramp() -> None:
    """Brighter to the right: all bits; darker, or less than can be seen: none."""
    ramp = torch.linspace(0, 255, 180).round().to(torch.uint8).expand(3, 160, 180)
    faint = torch.linspace(100, 120, 180).round().to(torch.uint8).expand(3, 160, 180)
    hashes = difference_hash(np.stack([thumbnail(image) for image in (ramp, ramp.flip(2), faint)]))
    assert hashes.tolist() == [2**64 - 1, 0, 0] and thumbnail(ramp).shape == SHAPE


def test_groups_join_what_pairs_join() -> None:
    assert groups([(0, 3), (1, 2), (3, 5), (5, 6)]) == [[0, 3, 5, 6], [1, 2]] and groups([]) == []


@pytest.fixture
def two_splits(tmp_path: Path) -> Path:
    """train: 5 pictures a class. val: one exact copy, one saved anew, one resized, one of its own."""
    for k, name in enumerate(("猫", "狗")):
        for n in range(5):
            file = tmp_path / "train" / name / f"{n}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pattern(90, 120, seed=10 * k + n)).save(file)
        (tmp_path / "val" / name).mkdir(parents=True)
    shutil.copy(tmp_path / "train/猫/0.png", tmp_path / "val/猫/copy.png")
    Image.open(tmp_path / "train/猫/1.png").save(tmp_path / "val/猫/again.jpg", quality=50)
    Image.open(tmp_path / "train/狗/2.png").resize((60, 45)).save(tmp_path / "val/狗/small.png")
    Image.fromarray(pattern(90, 120, seed=33)).save(tmp_path / "val/狗/own.png")
    return tmp_path


def test_leaks_from_train_to_val(two_splits: Path) -> None:
    train = read(two_splits / "train")
    reports = check_splits({"train": train, "val": read(two_splits / "val", labels=train.labels)})
    assert reports["train"].faults == [] and reports["train"].leaks == []
    found = {row["name"]: (row["other"], row["split"], row["how"]) for row in reports["val"].leaks}
    assert found == {
        "猫/copy.png": ("猫/0.png", "train", "same content"),
        "猫/again.jpg": ("猫/1.png", "train", "looks alike"),
        "狗/small.png": ("狗/2.png", "train", "looks alike"),
    }
    assert len(reports["val"].faults) == 1 and "3 of 4 images are known from another split" in reports["val"].faults[0]


def test_copies_within_a_split_are_notes(two_splits: Path) -> None:
    Image.open(two_splits / "train/猫/1.png").save(two_splits / "train/猫/again.jpg", quality=50)
    Image.open(two_splits / "train/猫/1.png").resize((240, 180)).save(two_splits / "train/猫/large.png")
    report = check(read(two_splits / "train"))
    assert report.near_duplicates == [["猫/1.png", "猫/again.jpg", "猫/large.png"]] and report.faults == []
    assert any("猫/1.png ~ 猫/again.jpg" in note for note in report.notes)


@pytest.mark.slow
def test_no_two_of_796_stamps_are_taken_for_one(stamps: Path) -> None:
    """Cut-outs on white: what looks alike is listed by its authors as one picture in two folders, or as one in two versions."""
    source = read(stamps)
    thumbs = np.stack([thumbnail(decode(source.file(i))) for i in range(len(source))])
    for i, j in alike(thumbs):
        assert Path(source.name(i)).stem[:5] == Path(source.name(j)).stem[:5], (source.name(i), source.name(j))
