"""Lists of images as people have them: Windows paths, Chinese names, other encodings, other machines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from liandan.data.annotations import annotation_lines, class_lines
from liandan.data.check import check
from liandan.data.errors import DataError, Unreadable
from liandan.data.image_pipeline import ImagePipeline
from liandan.data.loader import Loader
from liandan.data.readers import detect_format, read
from liandan.data.split import hold_out, restore
from tests.zygote import ROOT

NAMES = ["花岗岩", "basalt rock", "石 灰 岩"]


@pytest.fixture
def rocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project of the format: datas/train.txt with paths from the working folder, spaces and Chinese in them, and a class file."""
    lines = []
    for k, name in enumerate(NAMES):
        for n in range(4):
            file = tmp_path / "datas/train" / name / f"照片 {n}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (40 * k, 60 * n, 90)).save(file)
            lines.append(f"datas\\train\\{name}\\照片 {n}.png {k}")
    (tmp_path / "datas/train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "datas/annotations.txt").write_text("".join(f"{name} {k}\n" for k, name in enumerate(NAMES)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "datas"


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_the_list_of_the_rock_project(rocks: Path) -> None:
    source = read(rocks / "train.txt", classes="annotations.txt")
    assert (source.format, len(source), source.labels) == ("annotations", 12, NAMES)
    assert source.targets.tolist() == [k for k in range(3) for _ in range(4)] and source.targets.dtype == np.int64
    assert source.name(5) == "datas/train/basalt rock/照片 1.png" and source.target(5) == 1
    assert source.image(5)[:, 0, 0].tolist() == [40, 60, 90] and not source.grey()
    part = source.subset(np.array([11, 5]))
    assert part.name(1) == source.name(5) and part.target(0) == 2 and part.image(1)[0, 0, 0] == 40
    assert read(rocks / "train.txt").labels == ["0", "1", "2"]
    assert read(rocks / "train.txt", classes=NAMES).labels == NAMES


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_and_ends_of_lines(rocks: Path, encoding: str, end: str) -> None:
    for file in ("train.txt", "annotations.txt"):
        written(rocks / file, (rocks / file).read_text(encoding="utf-8").replace("\n", end), encoding)
    assert detect_format(rocks / "train.txt") == "annotations"
    source = read(rocks / "train.txt", classes="datas/annotations.txt")
    assert source.labels == NAMES and all(source.file(i).is_file() for i in range(12))
    assert source.notes == (["train.txt is not UTF-8: read as gb18030"] if encoding == "gbk" else [])


def test_no_text_is_told_as_such(rocks: Path) -> None:
    written(rocks / "utf16.txt", (rocks / "train.txt").read_text(encoding="utf-8"), "utf-16")
    with pytest.raises(Unreadable, match="UTF-16; save it as UTF-8"):
        read(rocks / "utf16.txt", "annotations")
    (rocks / "odd.txt").write_bytes(b"datas/\xff\xff.png 0\n")
    with pytest.raises(Unreadable, match="not text in utf-8 or gb18030"):
        read(rocks / "odd.txt", "annotations")
    with pytest.raises(Unreadable, match="not text in ascii"):
        read(rocks / "train.txt", encoding="ascii")


def test_every_bad_line_is_told_at_once(rocks: Path) -> None:
    bad = ["no index.png", "a.png x", "b.png -1", "c.png 3", "d.png 1.0", "3", "datas/train/basalt rock/照片 1.png 0"]
    written(rocks / "bad.txt", (rocks / "train.txt").read_text(encoding="utf-8") + "\n" + "\n".join(bad) + "\n")
    with pytest.raises(DataError) as caught:
        read(rocks / "bad.txt", classes=NAMES)
    told = str(caught.value).splitlines()
    assert "bad.txt: 7 lines cannot be used" in told[0] and len(told) == 8
    assert told[1] == '  line 14: expected "<path> <index>", found "no index.png"'
    assert told[4] == "  line 17: class 3: the 3 classes are 0 to 2"
    assert told[7] == "  line 20: datas/train/basalt rock/照片 1.png has other classes on line 6"
    written(rocks / "bad.txt", "a.png 0\n" + "x\n" * 50)
    with pytest.raises(DataError, match=r"50 lines cannot be used(?s:.*)line 21:(?s:.*)and 30 more") as caught:
        read(rocks / "bad.txt", "annotations")
    assert "line 22:" not in str(caught.value)


def test_an_absurd_index_asks_for_no_memory(rocks: Path) -> None:
    written(rocks / "a.txt", "datas/train/basalt rock/照片 1.png 999999999\nx.png 99999999999999999999\n")
    with pytest.raises(DataError, match="2 lines"):
        read(rocks / "a.txt", "annotations")


def test_repeated_lines_count_once(rocks: Path) -> None:
    text = (rocks / "train.txt").read_text(encoding="utf-8")
    written(rocks / "twice.txt", text + text.replace("\\", "/") + "\n\n")
    source = read(rocks / "twice.txt")
    assert len(source) == 12 and source.notes == ["12 lines of twice.txt repeat an earlier one and are left out"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("甲 0\n乙 2\n", "line 2: index 2, expected 1"),
        ("甲 1\n乙 2\n", "line 1: index 1, expected 0"),
        ("甲 0\n乙 0\n", 'line 2: the index 0 is that of "甲", on line 1'),
        ("甲 0\n\n甲 1\n", 'line 3: the name "甲" stands on line 1 already'),
        ("甲 0\n乙\n", 'line 2: expected "<name> <index>", found "乙"'),
        ("甲\n乙\n甲\n", 'line 3: the name "甲" stands on line 1 already'),
        ("", "expected a line"),
    ],
)
def test_class_files_that_are_wrong(rocks: Path, text: str, said: str) -> None:
    written(rocks / "classes.txt", text)
    with pytest.raises(DataError, match=said.replace("(", r"\(")) as caught:
        read(rocks / "train.txt", classes="classes.txt")
    assert "classes.txt" in str(caught.value)


def test_class_files_that_are_right(rocks: Path) -> None:
    for text in ("花岗岩 0\nbasalt rock 1\n石 灰 岩 2\n", "石 灰 岩\t2\n花岗岩\t0\n\nbasalt rock  1", "花岗岩\nbasalt rock\n石 灰 岩\n"):
        written(rocks / "classes.txt", text)
        assert read(rocks / "train.txt", classes="datas/classes.txt").labels == NAMES
    with pytest.raises(DataError, match="nowhere.txt: expected a text file, found nothing"):
        read(rocks / "train.txt", classes="nowhere.txt")


def test_validation_takes_the_training_classes(rocks: Path) -> None:
    assert read(rocks / "train.txt", labels=NAMES).labels == NAMES
    with pytest.raises(DataError, match='class 0 is "a", and there "花岗岩"'):
        read(rocks / "train.txt", classes=["a", "b", "c"], labels=NAMES)
    with pytest.raises(DataError, match="4 lines cannot be used"):
        read(rocks / "train.txt", labels=NAMES[:2])


def test_a_list_from_another_machine(rocks: Path, tmp_path: Path) -> None:
    home = "C:\\Users\\zhang tong\\Desktop\\rock_identification\\"
    text = "".join(home + line + "\n" for line in (rocks / "train.txt").read_text(encoding="utf-8").splitlines())
    written(rocks / "windows.txt", text)
    source = read(rocks / "windows.txt")
    assert [source.image(i)[0, 0, 0].item() for i in (0, 4, 8)] == [0, 40, 80]
    assert source.name(0) == "C:/Users/zhang tong/Desktop/rock_identification/datas/train/花岗岩/照片 0.png"
    assert len(source.notes) == 1 and "C:/Users/zhang tong/Desktop/rock_identification/ at the start" in source.notes[0]
    elsewhere = written(tmp_path / "elsewhere.txt", text)
    assert read(elsewhere, root=str(rocks)).file(0) == rocks / "train/花岗岩/照片 0.png"
    os.chdir("/")
    assert read(elsewhere).file(0) == tmp_path / "datas/train/花岗岩/照片 0.png"  # beside the list
    lost = written(tmp_path / "sub.txt", text.replace(".png", ".jpg"))
    with pytest.raises(DataError, match="none of its 12 files is there; .*照片 0.jpg was looked for in .*Set `root`"):
        read(lost)
    with pytest.raises(DataError, match="root: there is no folder"):
        read(elsewhere, root=str(tmp_path / "none"))


def test_a_backslash_may_be_part_of_a_name(tmp_path: Path) -> None:
    """What an archive made on Windows leaves behind when it is unpacked without care."""
    Image.new("L", (3, 3), 7).save(tmp_path / "train\\1.png")
    assert read(written(tmp_path / "a.txt", "train\\1.png 0\n")).image(0)[0, 0, 0] == 7


def test_a_missing_or_broken_file_is_told_and_counted_not_fatal(rocks: Path) -> None:
    """A corrupt image in the middle of an epoch: listed by `check`, left out of evaluation, replaced in training."""
    whole = (rocks / "train/花岗岩/照片 0.png").read_bytes()
    (rocks / "train/花岗岩/照片 0.png").write_bytes(whole[: len(whole) // 2])
    (rocks / "train/花岗岩/照片 1.png").unlink()
    source = read(rocks / "train.txt", classes=NAMES)
    report = check(source)
    assert [Path(row["file"]).name for row in report.unreadable] == ["照片 0.png", "照片 1.png"]
    assert "2 of 12 files cannot be read" in report.faults[0]
    pipeline = ImagePipeline.fit(source, transforms={"train": ["random_horizontal_flip"], "eval": []})
    loader = Loader(pipeline.samples(source, training=False), seed=0, max_unreadable=0.5)
    judged = [i for batch in loader.evaluation(5) for i in batch["index"].tolist()]
    assert judged == list(range(2, 12)) and loader.unreadable == {0, 1}
    training = Loader(pipeline.samples(source, training=True), seed=0, max_unreadable=0.5)
    assert sum(len(batch["index"]) for step in training.training(5, 5, 0, 3) for batch in step) == 12


@pytest.mark.parametrize("batch_size", [5, 12, 64])
def test_the_tail_of_a_split_is_judged(rocks: Path, batch_size: int) -> None:
    """Neither a last batch that is not full nor a split smaller than one batch is dropped."""
    source = read(rocks / "train.txt")
    loader = Loader(ImagePipeline.fit(source).samples(source, training=False), seed=0)
    assert [i for batch in loader.evaluation(batch_size) for i in batch["index"].tolist()] == list(range(12))


def test_fingerprints_see_order_and_classes(rocks: Path) -> None:
    first = read(rocks / "train.txt").fingerprint()
    lines = (rocks / "train.txt").read_text(encoding="utf-8").splitlines()
    prints = [first]
    for changed in (lines[::-1], [lines[0][:-1] + "1", *lines[1:]], lines[1:]):
        prints.append(read(written(rocks / "train.txt", "\n".join(changed))).fingerprint())
    assert len({str(p["samples"]) for p in prints}) == 4 and prints[0]["files"] == prints[1]["files"] == prints[2]["files"]


def test_held_out_and_restored(rocks: Path) -> None:
    source = read(rocks / "train.txt", classes=NAMES)
    train, val, names = hold_out(source, 0.25)
    assert sorted(val.targets.tolist()) == [0, 1, 2] and len(train) == 9
    again = restore(source, names)[1]
    assert [again.name(i) for i in range(3)] == names and again.targets.tolist() == val.targets.tolist()


def test_written_lists_are_read_back(rocks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "划分 lists"
    folder.mkdir()
    source = read(rocks / "train.txt", classes=NAMES)
    written(folder / "train.txt", annotation_lines(source, folder))
    written(folder / "classes.txt", class_lines(NAMES))
    os.chdir("/")
    back = read(folder / "train.txt", classes="classes.txt")
    assert back.labels == NAMES and back.targets.tolist() == source.targets.tolist()
    assert [Path(back.file(i)).resolve() for i in range(12)] == [source.file(i) for i in range(12)]
    with pytest.raises(DataError, match="cannot stand in a list"):
        class_lines(["a", " b"])


def test_what_is_a_list_and_what_is_a_text(tmp_path: Path) -> None:
    texts = {
        "a.jpg 0\nb.JPEG 12\n\n": "annotations",
        "a.jpg\t0\r\nb.png 1\r\nslip\r\n": "annotations",
        "床前明月光\n疑是地上霜\n": "text",
        "see a.jpg 0\nand then\nmany more lines\nof text\n": "text",
        "1 2\n3 4\n": "text",
        "": "text",
    }
    for text, format in texts.items():
        assert detect_format(written(tmp_path / "a.txt", text)) == format, text
    assert detect_format(written(tmp_path / "long.txt", "some folder/一张照片.jpg 3\n" * 9000)) == "annotations"


def test_the_locale_of_the_machine_changes_nothing(rocks: Path) -> None:
    """Files are opened with their own encoding, not with that of the system, which on Chinese Windows is not UTF-8."""
    for k in range(3):
        (rocks / f"{k}.png").write_bytes((rocks / "train" / NAMES[k] / "照片 0.png").read_bytes())
    written(rocks / "ascii.txt", "0.png 0\n1.png 1\n2.png 2\n")
    script = (
        "import json, sys; from liandan.data.readers import read;"
        "s = read(sys.argv[1], classes=sys.argv[2]); print(sys.getfilesystemencoding(), json.dumps(s.labels), s.target(2))"
    )
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, str(rocks / "ascii.txt"), str(rocks / "annotations.txt")]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
    assert out.split(" ", 1)[0] != "cp65001" and '"\\u82b1\\u5c97\\u5ca9"' in out and out.strip().endswith("2")


def test_a_list_is_plain_data_to_train_on(rocks: Path) -> None:
    from liandan import tasks

    found = tasks.recognize(rocks / "train.txt", lambda name: False)
    assert found is not None and found["task"] == "image_classification" and found["data"]["train"] == str(rocks / "train.txt")
    written(rocks / "bad.txt", "a.png 0\nb.png\nc.png 1\n")
    with pytest.raises(DataError, match="line 2: expected"):
        tasks.recognize(rocks / "bad.txt", lambda name: False)
    written(rocks / "poem.txt", "床前明月光\n疑是地上霜\n")
    assert (tasks.recognize(rocks / "poem.txt", lambda name: False) or {})["task"] == "language_model"
