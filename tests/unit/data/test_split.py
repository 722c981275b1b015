from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liandan.data.errors import DataError
from liandan.data.fingerprint import differences
from liandan.data.readers import read
from liandan.data.split import hold_out, restore


def names(source: object) -> list[str]:
    return [source.name(i) for i in range(len(source))]  # type: ignore[attr-defined, arg-type]


def test_images_by_class(digit_folders: Path) -> None:
    source = read(digit_folders)
    train, val, held = hold_out(source, 0.2, seed=3)
    assert Counter(val.targets.tolist()) == {k: 1 for k in range(10)} and len(train) == 50
    assert sorted(names(train) + names(val)) == names(source) and names(val) == held
    assert names(hold_out(source, 0.2, seed=3)[1]) == held != names(hold_out(source, 0.2, seed=4)[1])
    again = restore(source, json.loads(json.dumps(held)))
    assert (names(again[0]), names(again[1])) == (names(train), names(val))
    assert val.labels == source.labels


def test_small_classes_keep_one_on_each_side(tmp_path: Path) -> None:
    for label, count in (("一", 1), ("二", 2), ("三", 30)):
        (tmp_path / label).mkdir()
        for n in range(count):
            Image.new("L", (2, 2)).save(tmp_path / label / f"{n}.png")
    source = read(tmp_path)
    for fraction in (0.01, 0.5, 0.99):
        train, val, _ = hold_out(source, fraction)
        counted = [Counter(part.labels[t] for t in part.targets) for part in (train, val)]
        assert counted[0]["一"] == 1 and counted[0]["二"] == counted[1]["二"] == 1 and min(counted[0]["三"], counted[1]["三"]) >= 1
    _, val, _ = hold_out(source, 0.5, stratify=False)
    assert len(val) == 16  # of 33, rounded to even


def test_one_more_image_moves_few_others(digit_folders: Path) -> None:
    before = set(hold_out(read(digit_folders), 0.3)[2])
    Image.new("L", (8, 8)).save(digit_folders / "0/999.png")
    after = set(hold_out(read(digit_folders), 0.3)[2])
    assert len(before - after) <= 1


def test_arrays(tmp_path: Path, write_idx: Callable[[Path, np.ndarray], Path], digits: tuple[np.ndarray, np.ndarray]) -> None:
    write_idx(tmp_path / "train-images-idx3-ubyte", digits[0][:200])
    write_idx(tmp_path / "train-labels-idx1-ubyte", digits[1][:200])
    source = read(tmp_path)
    train, val, held = hold_out(source, 0.25)
    assert set(held).isdisjoint(names(train)) and len(train) + len(val) == 200 and set(val.targets) == set(range(10))
    assert names(restore(source, held)[1]) == held
    with pytest.raises(DataError, match="1 of 1 validation samples are gone"):
        restore(source, ["train/99999"])


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, float("nan")])
def test_impossible_fractions(digit_folders: Path, fraction: float) -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        hold_out(read(digit_folders), fraction)


def test_text_of_many_documents(tmp_path: Path) -> None:
    documents = [f"第{n}首\n" + "字" * (n % 7) + "\n\n" for n in range(250)]
    (tmp_path / "a.txt").write_text("".join(documents), encoding="utf-8")
    source = read(tmp_path / "a.txt")
    train, val, held = hold_out(source, 0.1, seed=1)
    assert len(val) == 25 and len(train) == 225
    assert sorted([*(train.text(i) for i in range(225)), *(val.text(i) for i in range(25))]) == sorted(documents)
    assert hold_out(source, 0.1, seed=2)[2] != held == hold_out(source, 0.1, seed=1)[2]
    again = restore(source, json.loads(json.dumps(held)))
    assert names(again[0]) == names(train) and names(again[1]) == names(val)


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.5, 0.9])
def test_short_text_ends_at_a_line(tmp_path: Path, fraction: float) -> None:
    text = "".join(f"第{n}行\n" + ("\n" if n % 10 == 9 else "") for n in range(60)) + "no line feed at the end"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    source = read(tmp_path / "a.txt")
    train, val, held = hold_out(source, fraction)
    assert "".join(train.pieces()) + "".join(val.pieces()) == text
    assert "".join(train.pieces()).endswith("\n") and abs(val.nbytes / source.nbytes - fraction) < 0.05
    again = restore(source, json.loads(json.dumps(held)))
    assert "".join(again[0].pieces()) == "".join(train.pieces()) and "".join(again[1].pieces()) == "".join(val.pieces())


def test_a_folder_of_short_texts(tmp_path: Path) -> None:
    for n in range(5):
        (tmp_path / f"{n}.txt").write_text(f"{n}a\n{n}b\n", encoding="utf-8")
    source = read(tmp_path)
    train, val, held = hold_out(source, 0.3)
    assert "".join(train.pieces()) == "0a\n0b\n1a\n1b\n2a\n2b\n3a\n" and "".join(val.pieces()) == "3b\n4a\n4b\n"
    assert "".join(restore(source, held)[0].pieces()) == "".join(train.pieces())


def test_text_that_cannot_be_divided(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one line", encoding="utf-8")
    with pytest.raises(DataError, match="one line cannot be divided"):
        hold_out(read(tmp_path / "a.txt"), 0.5)
    (tmp_path / "a.txt").write_text("1\n2\n3\n", encoding="utf-8")
    with pytest.raises(DataError, match="no document"):
        restore(read(tmp_path / "a.txt"), ["a.txt:4-900"])


def test_tokens_end(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.arange(100, dtype=np.uint16))
    source = read(tmp_path / "t.npy")
    train, val, held = hold_out(source, 0.1)
    assert (train.start, train.stop, val.start, val.stop) == (0, 90, 90, 100)
    again = restore(source, held)
    assert (again[0].stop, again[1].start, again[1].stop) == (90, 90, 100)


def test_fingerprints_follow_what_is_there(digit_folders: Path) -> None:
    source = read(digit_folders)
    first, manifest = source.fingerprint(), source.manifest()
    assert read(digit_folders).fingerprint() == first and json.loads(json.dumps(first)) == first and first["count"] == 60
    assert differences(manifest, read(digit_folders).manifest()) == []
    (digit_folders / "0/000.png").unlink()
    Image.new("L", (8, 8), 9).save(digit_folders / "1/新.png")
    (digit_folders / "2/000.png").write_bytes((digit_folders / "2/000.png").read_bytes() + b"more")
    now = read(digit_folders)
    assert now.fingerprint()["files"] != first["files"] and now.fingerprint()["labels"] == first["labels"]
    found = differences(manifest, now.manifest())
    assert [sentence.split(" ")[:2] for sentence in found] == [["removed:", "0/000.png"], ["added:", "1/新.png"], ["changed:", "2/000.png"]]
    (digit_folders / "3").rename(digit_folders / "三")
    renamed = read(digit_folders)
    assert renamed.fingerprint()["labels"] != first["labels"]
    assert len(differences(manifest, renamed.manifest())) == 6 and differences(manifest, renamed.manifest())[-1] == "and 10 more"
    assert differences(None, None) == []


def test_fingerprints_of_text_see_content(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("甲\n\n乙\n", encoding="utf-8")
    source = read(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("甲\n\n丙\n", encoding="utf-8")
    other = read((tmp_path / "b.txt").rename(tmp_path / "a.txt"))
    assert other.fingerprint() != source.subset(np.array([0])).fingerprint() != source.fingerprint()
    (tmp_path / "a.txt").write_text("甲\n\n丁\n", encoding="utf-8")
    assert differences(other.manifest(), [["a.txt", 8 + 2, "0"]])[0].startswith("changed: a.txt had 9 bytes")
    assert "other content" in differences([["a.txt", 9, "0"]], other.manifest())[0]
