from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from liandan.data.check import check
from liandan.data.readers import read


def test_good_data_has_no_faults(digit_folders: Path) -> None:
    report = check(read(digit_folders))
    assert report.faults == [] and report.count == 60 and report.classes == {str(k): 6 for k in range(10)}
    assert report.sizes == {"8 x 8": 60} and report.modes == {"PNG L": 60}
    assert json.loads(json.dumps(report.to_json()))["format"] == "class_folders"


def test_every_fault_is_listed(photos: Path) -> None:
    cat, dog = photos / "猫", photos / "狗"
    whole = (cat / "照片0.jpg").read_bytes()
    (cat / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (cat / "empty.png").write_bytes(b"")
    (cat / "text.jpg").write_text("这不是图片")
    shutil.copy(cat / "照片1.jpg", cat / "copy.jpg")
    shutil.copy(cat / "照片2.jpg", dog / "same.jpg")
    Image.new("CMYK", (9, 7)).save(dog / "print.jpg")
    (photos / "空").mkdir()
    (cat / "notes.txt").write_text("x")
    report = check(read(photos))
    assert {row["file"]: row["reason"].split(" ")[0] for row in report.unreadable} == {
        "猫/cut.jpg": "broken:",
        "猫/empty.png": "empty",
        "猫/text.jpg": "not",
    }
    assert report.duplicates == [["狗/same.jpg", "猫/照片2.jpg"], ["猫/copy.jpg", "猫/照片1.jpg"]]
    assert report.conflicts == [["狗/same.jpg", "猫/照片2.jpg"]] and report.empty_classes == ["空"] and report.ignored == ["猫/notes.txt"]
    assert report.modes["JPEG CMYK"] == 1 and report.sizes["9 x 7"] == 1
    assert len(report.faults) == 3 and "3 of 18 files cannot be read: 猫/cut.jpg" in report.faults[0]
    assert len(report.notes) == 2


def test_one_class_and_uneven_classes(tmp_path: Path) -> None:
    for n in range(30):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.new("L", (4, 4), n).save(tmp_path / f"a/{n}.png")
    assert "only one class" in check(read(tmp_path)).faults[0]
    (tmp_path / "b").mkdir()
    Image.new("L", (4, 4), 99).save(tmp_path / "b/0.png")
    report = check(read(tmp_path))
    assert report.faults == [] and "1 to 30 images" in report.notes[0]


def test_arrays(tmp_path: Path, write_idx: Callable[[Path, np.ndarray], Path]) -> None:
    write_idx(tmp_path / "train-images-idx3-ubyte", np.stack([np.full((5, 6), v) for v in (1, 2, 1, 3)]))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.array([0, 1, 1, 0]))
    report = check(read(tmp_path))
    assert report.sizes == {"6 x 5": 4} and report.classes == {"0": 2, "1": 2}
    assert report.conflicts == [["train/00000", "train/00002"]] and len(report.faults) == 1


def test_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("明月\n\n光".encode("gb18030"))
    report = check(read(tmp_path / "a.txt"))
    assert report.text == {"characters": 5, "bytes": 11, "documents": 2, "files": 1, "distinct_characters": 4, "encodings": {"gb18030": 1}}
    assert report.faults == [] and report.notes == ["a.txt is not UTF-8: read as gb18030"]
    (tmp_path / "a.txt").write_text("bad \ufffd", encoding="utf-8")
    assert "U+FFFD" in check(read(tmp_path / "a.txt")).faults[0]


def test_tokens(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.arange(9, dtype=np.uint16))
    assert check(read(tmp_path / "t.npy")).text == {"tokens": 9, "vocab_size": 9}
