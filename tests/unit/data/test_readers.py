from __future__ import annotations

import gzip
import json
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from liandan.data.errors import DataError, Unreadable
from liandan.data.readers import READERS, detect_format, read

Writer = Callable[[Path, np.ndarray], Path]


def tiny(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), value).save(path)
    return path


def test_class_folders(digit_folders: Path) -> None:
    source = read(digit_folders)
    assert source.format == "class_folders" and len(source) == 60
    assert source.labels == [str(k) for k in range(10)] and source.targets.tolist() == [k for k in range(10) for _ in range(6)]
    assert source.name(7) == "1/001.png" and source.target(7) == 1
    assert source.image(7, 1).shape == (1, 8, 8) and source.image(7).shape == (3, 8, 8)
    assert source.grey()
    part = source.subset(np.array([7, 0]))
    assert [part.name(0), part.name(1)] == ["1/001.png", "0/000.png"] and part.target(0) == 1 and part.labels == source.labels


def test_what_is_an_image_and_what_is_left_out(tmp_path: Path) -> None:
    for name in ("乙/b.PNG", "甲/深/a.jpeg", "甲/x.TIF", "甲/.hidden.png", ".git/c.png", "__MACOSX/甲/d.png"):
        tiny(tmp_path / name)
    (tmp_path / "甲/readme.txt").write_text("no image")
    (tmp_path / "loose.png").write_bytes(b"")
    (tmp_path / "空").mkdir()
    source = read(tmp_path)
    assert source.labels == sorted(["甲", "乙"]) and source.empty == ["空"]
    assert sorted(source.name(i) for i in range(len(source))) == sorted(["乙/b.PNG", "甲/x.TIF", "甲/深/a.jpeg"])
    assert sorted(source.ignored) == sorted([".git/c.png", "__MACOSX/甲/d.png", "loose.png", "甲/.hidden.png", "甲/readme.txt"])


def test_names_are_composed_whatever_the_file_system_says(tmp_path: Path) -> None:
    tiny(tmp_path / unicodedata.normalize("NFD", "é") / "ö.png")
    tiny(tmp_path / "b/a.png")
    source = read(tmp_path)
    assert source.labels == ["b", "é"] and source.name(1) == unicodedata.normalize("NFC", "é/ö.png")
    assert source.image(1).shape == (3, 4, 4)


def test_undecodable_file_names_can_be_written_as_json(tmp_path: Path) -> None:
    tiny(tmp_path / "a/x.png")
    tiny(tmp_path / "b/x.png").rename(Path(str(tmp_path / "b")) / "\udcff.png")
    source = read(tmp_path)
    assert json.dumps(source.manifest(), ensure_ascii=False).encode()
    assert source.image(1).shape == (3, 4, 4)


def test_links_that_loop_end(tmp_path: Path) -> None:
    tiny(tmp_path / "data/a/1.png")
    tiny(tmp_path / "data/b/2.png")
    (tmp_path / "data/a/self").symlink_to(tmp_path / "data/a")
    (tmp_path / "data/a/root").symlink_to(tmp_path / "data")
    tiny(tmp_path / "elsewhere/3.png")
    (tmp_path / "data/c").symlink_to(tmp_path / "elsewhere")
    source = read(tmp_path / "data")
    assert [source.name(i) for i in range(len(source))] == ["a/1.png", "b/2.png", "c/3.png"]


def test_other_splits_take_the_training_labels(tmp_path: Path) -> None:
    for name in ("train/猫/1.png", "train/狗/1.png", "train/鸟/1.png", "test/鸟/1.png", "bad/乌/1.png"):
        tiny(tmp_path / name)
    labels = read(tmp_path / "train").labels
    test = read(tmp_path / "test", labels=labels)
    assert test.labels == labels and labels[test.target(0)] == "鸟"
    with pytest.raises(DataError, match="乌.*not a class of the training data"):
        read(tmp_path / "bad", labels=labels)


def test_folders_that_are_not_class_folders(tmp_path: Path) -> None:
    tiny(tmp_path / "flat/a.png")
    with pytest.raises(DataError, match="1 images lie in it directly"):
        read(tmp_path / "flat", "class_folders")
    tiny(tmp_path / "splits/train/a/1.png")
    tiny(tmp_path / "splits/val/a/1.png")
    with pytest.raises(DataError, match="found the splits train, val"):
        read(tmp_path / "splits")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no image"):
        read(tmp_path / "none", "images")


def test_a_folder_of_images(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "sub/c.png"):
        tiny(tmp_path / name)
    assert detect_format(tmp_path) == "class_folders"
    source = read(tmp_path, "images")
    assert [source.name(i) for i in range(3)] == ["a.png", "b.png", "sub/c.png"]
    assert source.target(0) is None and source.labels is None and source.targets is None


def test_grey_sees_one_colored_image(tmp_path: Path) -> None:
    for n in range(5):
        tiny(tmp_path / f"a/{n}.png")
    assert read(tmp_path).grey()
    Image.new("RGB", (4, 4)).save(tmp_path / "a/3.png")
    assert not read(tmp_path).grey()


def test_a_broken_image_is_found_by_reading_it(tmp_path: Path) -> None:
    tiny(tmp_path / "a/1.png")
    (tmp_path / "a/2.png").write_bytes(b"")
    source = read(tmp_path)
    assert len(source) == 2
    with pytest.raises(Unreadable, match=r"2\.png: empty file"):
        source.image(1)


@pytest.fixture
def mnist(tmp_path: Path, write_idx: Writer, digits: tuple[np.ndarray, np.ndarray]) -> Path:
    images, targets = digits
    write_idx(tmp_path / "mnist/train-images-idx3-ubyte", images[:50])
    write_idx(tmp_path / "mnist/train-labels-idx1-ubyte", targets[:50])
    write_idx(tmp_path / "mnist/t10k-images-idx3-ubyte", images[50:60])
    write_idx(tmp_path / "mnist/t10k-labels-idx1-ubyte", targets[50:60])
    return tmp_path / "mnist"


def test_idx(mnist: Path, digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, targets = digits
    train, test = read(mnist), read(mnist, split="test")
    assert (train.format, len(train), len(test), train.size) == ("idx", 50, 10, (8, 8))
    assert train.labels == [str(k) for k in range(10)] and train.targets.tolist() == targets[:50].tolist()
    assert torch.equal(test.image(3), torch.from_numpy(images[53])[None]) and test.name(3) == "test/00003"
    assert torch.equal(train.image(2, 3), torch.from_numpy(images[2]).repeat(3, 1, 1))
    part = train.subset(np.array([40, 4]))
    assert part.name(0) == "train/00040" and torch.equal(part.image(0), train.image(40)) and part.target(1) == targets[4]
    assert torch.equal(part.resident(), torch.from_numpy(images[[40, 4]])[:, None])
    assert torch.equal(train.resident(), torch.from_numpy(images[:50])[:, None])


def test_idx_gzipped(mnist: Path) -> None:
    plain = read(mnist)
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (mnist / f"{name}.gz").write_bytes(gzip.compress((mnist / name).read_bytes()))
        (mnist / name).unlink()
    packed = read(mnist)
    assert np.array_equal(packed.array, plain.array) and np.array_equal(packed.targets, plain.targets)
    assert read(mnist / "train-images-idx3-ubyte.gz").name(1) == "train/00001"


def test_idx_that_lies(mnist: Path, write_idx: Writer, digits: tuple[np.ndarray, np.ndarray]) -> None:
    file = mnist / "train-images-idx3-ubyte"
    whole = file.read_bytes()
    for content, reason in [
        (whole[:-1], r"its header says \(50, 8, 8\)"),
        (whole + b"x", "its header says"),
        (b"", "an empty file"),
        (whole[:10], "expected an IDX file"),
        (b"\x00\x00\x0d\x03" + whole[4:], "0x00000d03"),
        (whole[:4] + b"\xff\xff\xff\xff" * 3, "its header says"),
    ]:
        file.write_bytes(content)
        with pytest.raises(DataError, match=reason):
            read(mnist)
        file.unlink()
        (mnist / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content) if content else b"")
        with pytest.raises(DataError):
            read(mnist)
        (mnist / "train-images-idx3-ubyte.gz").unlink()
    write_idx(file, digits[0][:49])
    with pytest.raises(DataError, match="49 images and .* 50 labels"):
        read(mnist)
    (mnist / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="expected its labels beside it"):
        read(mnist)


def test_detection(tmp_path: Path, mnist: Path, digit_folders: Path) -> None:
    (tmp_path / "诗.txt").write_text("床前明月光")
    tiny(tmp_path / "flat/1.jpg")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("a")
    np.save(tmp_path / "t.npy", np.zeros(3, np.uint16))
    expected = {"诗.txt": "text", "flat": "images", "texts": "text", "t.npy": "tokens", "mnist": "idx", "digits": "class_folders"}
    assert {name: detect_format(tmp_path / name) for name in expected} == expected
    assert detect_format(mnist / "train-images-idx3-ubyte") == "idx" and detect_format(digit_folders) == "class_folders"
    (tmp_path / "a.docx").write_bytes(b"PK")
    with pytest.raises(DataError) as caught:
        detect_format(tmp_path / "a.docx")
    assert all(name in str(caught.value) for name in READERS)


def test_wrong_requests_name_what_is_right(tmp_path: Path, digit_folders: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read(tmp_path / "gone")
    with pytest.raises(DataError, match='did you mean "class_folders"'):
        read(digit_folders, "class_folder")
    with pytest.raises(DataError, match='did you mean "labels"'):
        read(digit_folders, lables=["a"])
    wrongs: tuple[dict[str, Any], ...] = ({"levels": "2"}, {"levels": None}, {"heads": 1}, {"labels": "a"}, {"labels": [1]})
    for wrong in wrongs:
        with pytest.raises(DataError, match=f"format class_folders: {next(iter(wrong))}: Input should be a valid .*, got"):
            read(digit_folders, **wrong)


def test_the_room_imports_no_torchvision_and_text_needs_no_pillow() -> None:
    rooms = ("loader", "pipelines", "readers", "check", "split")
    script = f"import sys, {', '.join('liandan.data.' + name for name in rooms)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded and not {"torchvision", "tokenizers", "PIL"} & set(loaded)
