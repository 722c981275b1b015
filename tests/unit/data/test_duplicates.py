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


def crops(side: int) -> list[Image.Image]:
    """scikit-learn's two photographs, a temple and a flower, cut into squares."""
    out = []
    for photo in load_sample_images().images:
        for top in range(0, photo.shape[0] - side + 1, side):
            out += [Image.fromarray(photo[top : top + side, left : left + side]) for left in range(0, photo.shape[1] - side + 1, side)]
    return out


def pairs_of(images: list[torch.Tensor]) -> list[tuple[int, int]]:
    return alike(np.stack([thumbnail(image) for image in images]), images.__getitem__)


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


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
    """24 squares of two photographs, each with a copy: exactly those 24 pairs. Of 48 smaller ones, some of plain sky, none too many."""
    for side, n in ((142, 24), (96, 48)):
        originals = crops(side)
        found = set(pairs_of([tensor(image) for image in (*originals, *map(CHANGES[change], originals))]))
        expected = {(i, i + n) for i in range(n)}
        assert len(originals) == n and found <= expected
        assert found == expected if side == 142 else len(found) >= 45, change


def test_digits_are_no_copies_of_one_another(digits: tuple[np.ndarray, np.ndarray]) -> None:
    """All 1.6 million pairs of 1,797 digits: hashes alone would take thousands for copies."""
    images, targets = digits
    tensors = [torch.from_numpy(image)[None] for image in images]
    pairs = pairs_of(tensors)
    assert all(targets[i] == targets[j] for i, j in pairs) and len(pairs) <= 3, pairs
    hashes = difference_hash(np.stack([thumbnail(image) for image in tensors]))
    assert sum(len(first) for first, _ in _candidates(hashes)) > 10_000


def test_bands_miss_no_pair() -> None:
    """Against all pairs, compared one by one: every pair of hashes within 6 bits."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**63, size=40, dtype=np.uint64)
    hashes = np.concatenate([base, *(base ^ _flips(rng, len(base), k) for k in (0, 1, 4, 6, 7, 20))])
    expected = {(i, j) for i in range(len(hashes)) for j in range(i + 1, len(hashes)) if int(hashes[i] ^ hashes[j]).bit_count() <= 6}
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
    """train: 10 pictures a class. val: one exact copy, one saved anew, one resized, one of its own."""
    pictures = crops(142)
    for k, name in enumerate(("寺庙", "花")):
        for n in range(10):
            file = tmp_path / "train" / name / f"{n}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pictures[12 * k + n].save(file)
        (tmp_path / "val" / name).mkdir(parents=True)
    shutil.copy(tmp_path / "train/寺庙/0.png", tmp_path / "val/寺庙/copy.png")
    pictures[1].save(tmp_path / "val/寺庙/again.jpg", quality=50)
    pictures[14].resize((60, 60)).save(tmp_path / "val/花/small.png")
    pictures[23].save(tmp_path / "val/花/own.png")
    return tmp_path


def test_leaks_from_train_to_val(two_splits: Path) -> None:
    train = read(two_splits / "train")
    reports = check_splits({"train": train, "val": read(two_splits / "val", labels=train.labels)})
    assert reports["train"].faults == [] and reports["train"].leaks == []
    found = {row["name"]: (row["other"], row["split"], row["how"]) for row in reports["val"].leaks}
    assert found == {
        "寺庙/copy.png": ("寺庙/0.png", "train", "same content"),
        "寺庙/again.jpg": ("寺庙/1.png", "train", "looks alike"),
        "花/small.png": ("花/2.png", "train", "looks alike"),
    }
    assert "1 of 4 images are in another split too (same content)" in reports["val"].faults[0]
    assert "2 of 4 images are in another split too (looks alike)" in reports["val"].faults[1] and len(reports["val"].faults) == 2


def test_one_look_alike_among_many_is_a_note(tmp_path: Path) -> None:
    """300 squares held out and one of them resembles a training image: told, not judged. A copy of the file is a fault at any number."""
    pictures = crops(36)
    for n, picture in enumerate(pictures[:300]):
        (tmp_path / "val" / "ab"[n % 2]).mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / "val" / "ab"[n % 2] / f"{n:03d}.png")
    for name in "ab":
        (tmp_path / "train" / name).mkdir(parents=True)
    textured = max(range(300), key=lambda n: np.asarray(pictures[n]).std())
    pictures[textured].resize((72, 72)).save(tmp_path / "train/a/other.png")
    pictures[350].save(tmp_path / "train/b/own.png")
    splits = {"train": read(tmp_path / "train"), "val": read(tmp_path / "val")}
    report = check_splits(splits)["val"]
    assert f"{textured:03d}.png" in [Path(row["name"]).name for row in report.leaks] and len(report.leaks) <= 3 and report.faults == []
    assert any("(looks alike), which flatters" in note for note in report.notes)
    shutil.copy(tmp_path / "val/b/001.png", tmp_path / "train/b/copy.png")
    assert "(same content)" in check_splits({**splits, "train": read(tmp_path / "train")})["val"].faults[0]


def test_tiny_images_are_compared_by_content_alone(digit_folders: Path) -> None:
    shutil.copy(digit_folders / "1/000.png", digit_folders / "1/copy.png")
    report = check(read(digit_folders))
    assert report.near_duplicates == [] and report.duplicates == [["1/000.png", "1/copy.png"]]


def test_copies_within_a_split_are_notes(two_splits: Path) -> None:
    original = Image.open(two_splits / "train/花/1.png")
    original.save(two_splits / "train/花/again.jpg", quality=50)
    original.resize((240, 240)).save(two_splits / "train/花/large.png")
    report = check(read(two_splits / "train"))
    assert report.near_duplicates == [["花/1.png", "花/again.jpg", "花/large.png"]] and report.faults == []
    assert any("花/1.png ~ 花/again.jpg" in note for note in report.notes)


@pytest.mark.slow
def test_no_two_of_796_stamps_are_taken_for_one(stamps: Path) -> None:
    """Cut-outs on white, 316,410 pairs: only a figure that lies in two folders, and two letters that are drawn as the same stroke."""
    source = read(stamps)
    images = [decode(source.file(i)) for i in range(len(source))]
    found = {(Path(source.name(i)).name, Path(source.name(j)).name) for i, j in pairs_of(images)}
    assert len(source) == 796 and found == {("fireman240a.png", "fireman240a.png"), ("l_outline.png", "I_outline.png")}
