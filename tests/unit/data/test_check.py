from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from liandan.data.chat_pipeline import ChatPipeline
from liandan.data.check import check, check_rows, check_splits
from liandan.data.readers import read
from liandan.data.rows import BadRows
from tests.unit.data.tables import write


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


def conversations(tmp_path: Path, rows: list[dict[str, str]], name: str = "qa.jsonl") -> Any:
    return read(write(tmp_path / name, rows), "conversations")


def pipeline(source: Any, context: int) -> ChatPipeline:
    return ChatPipeline.fit(source, text={"tokenizer": "characters", "context": context})


def test_lengths_of_conversations_in_tokens(tmp_path: Path) -> None:
    rows = [{"prompt": "问", "completion": "答" * n} for n in (1, 2, 3, 30)] + [{"prompt": "问" * 60, "completion": "答"}]
    source = conversations(tmp_path, rows)
    whole = pipeline(source, 1000)
    length = [len(whole.samples(source, False).sample(i)["ids"]) for i in range(5)]
    report = check(source, pipeline(source, length[0] + 5))
    assert {k: report.tokens[k] for k in ("shortest", "median", "longest", "total", "cut", "unlearned")} == {
        "shortest": length[0], "median": length[2], "longest": length[4], "total": sum(length), "cut": 2, "unlearned": 1,
    }  # fmt: skip
    assert report.tokens["lost"] == (length[3] + length[4] - 2 * (length[0] + 6)) / sum(length)
    assert sum(report.tokens["histogram"].values()) == 5 and report.tokens["histogram"][histogram_bin(length[4])] == 1
    (fault,) = report.faults
    assert fault == f"1 leave nothing to learn within data.text.context={length[0] + 5} tokens: qa.jsonl:5"
    assert report.notes[0].startswith("2 of 5 are longer than data.text.context=") and "all tokens" in report.notes[0]


def histogram_bin(length: int) -> str:
    high = 1
    while high < length:
        high *= 2
    return f"{high // 2 + 1}-{high}"


def test_empty_answers_and_near_copies(tmp_path: Path) -> None:
    pytest.importorskip("datasketch")
    turns = [("user", "问"), ("assistant", " "), ("user", "再问"), ("assistant", "答")]
    said = "春江潮水连海平海上明月共潮生滟滟随波千万里何处春江无月明"
    rows: list[dict[str, Any]] = [
        {"messages": [{"role": role, "content": text} for role, text in turns]}, {"prompt": "背诗", "completion": said},
        {"prompt": "背诗", "completion": said + "。江"}, {"prompt": "背诗", "completion": said},
    ]  # fmt: skip
    report = check(conversations(tmp_path, rows))
    assert report.empty_answers == ["qa.jsonl:1"] and report.faults == ["1 conversations have an answer that is empty: qa.jsonl:1"]
    assert report.duplicates == [["qa.jsonl:2", "qa.jsonl:4"]] and report.near_duplicates == [["qa.jsonl:2", "qa.jsonl:3"]]
    val = conversations(tmp_path, [{"prompt": "背诗", "completion": said + "！"}], "val.jsonl")
    assert [row["how"] for row in check_splits({"train": conversations(tmp_path, rows), "val": val})["val"].leaks] == ["reads alike"]


def test_rows_that_are_none_are_a_report(tmp_path: Path) -> None:
    with pytest.raises(BadRows) as caught:
        conversations(tmp_path, [{"prompt": "a", "completion": "b"}, {"prompt": "a"}])
    report = check_rows(caught.value)
    assert report.bad_rows == [{"file": "qa.jsonl", "line": 2, "reason": '"completion": expected text, got no such key'}]
    assert report.count == 2 and report.faults[0].startswith("1 of 2 rows are none; one looks like {\"prompt\"")
