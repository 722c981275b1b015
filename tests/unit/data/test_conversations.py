"""Conversations: every shape, every bad row by its place, in every kind of file."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from liandan.data.check import check
from liandan.data.conversations import Message, conversation, read_conversations
from liandan.data.errors import DataError, Unreadable
from liandan.data.readers import detect_format, read
from liandan.data.split import hold_out, restore
from tests.unit.data.tables import write

ASKED, ANSWERED = "白日依山盡的下一句？", "黃河入海流。"
SAME = [Message("user", ASKED), Message("assistant", ANSWERED)]


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": ASKED, "output": ANSWERED},
        {"instruction": ASKED, "input": "", "output": ANSWERED, "system": None, "history": []},
        {"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}]},
        {"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}]},
        {"prompt": ASKED, "completion": ANSWERED},
    ],
)
def test_every_shape_says_the_same(row: dict[str, Any]) -> None:
    assert conversation(row) == SAME


def test_alpaca_with_everything() -> None:
    row = {"instruction": "翻译", "input": "rain", "output": "雨", "system": "你是译者。", "history": [["snow", "雪"]]}
    assert conversation(row) == [
        Message("system", "你是译者。"), Message("user", "snow"), Message("assistant", "雪"), Message("user", "翻译\nrain"),
        Message("assistant", "雨"),
    ]  # fmt: skip


def test_a_weight_a_message() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "loss_weight": 0.25}]
    assert conversation({"messages": turns})[1].loss_weight == 0.25


BAD: list[tuple[Any, str]] = [
    (["a", "b"], "expected an object with keys, got list"),
    ({"question": "a", "answer": "b"}, "expected one of the keys instruction, conversations, messages, prompt; got question, answer"),
    ({"instruction": "a"}, '"output": expected text, got no such key'),
    ({"instruction": 3, "output": "b"}, '"instruction": expected text, got int'),
    ({"instruction": "a", "output": "b", "history": [["x"]]}, r"history: expected \[question, answer\] pairs"),
    ({"messages": "hello"}, "messages: expected a list of turns, got str"),
    ({"messages": [{"role": "user", "content": "a"}]}, "the assistant last; got user"),
    ({"messages": [{"role": "poet", "content": "a"}]}, "role: expected one of system, user, assistant"),
    ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "loss_weight": -1}]}, "loss_weight"),
    ({"conversations": [{"from": "gpt", "value": "b"}, {"from": "human", "value": "a"}]}, "user and assistant in turn"),
    ({"prompt": "a", "completion": " "}, "the answer is empty"),
]


@pytest.mark.parametrize(("row", "message"), BAD)
def test_a_bad_row_says_what_is_wrong(row: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conversation(row)


def test_all_bad_rows_are_told_with_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "問答.jsonl"
    lines = [json.dumps({"prompt": ASKED, "completion": ANSWERED}), "", *(json.dumps({"prompt": "a"}) for _ in range(25))]
    file.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_conversations(file)
    text = str(caught.value)
    assert "25 of 26 rows are no conversations" in text and "問答.jsonl:3:" in text and "and 5 more" in text
    assert text.endswith('a row looks like {"prompt": "question", "completion": "answer"}')


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".tsv", ".parquet"])
def test_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    rows = [{"instruction": f"第{i}問，\n有逗號", "output": f"答{i}"} for i in range(12)]
    file = write(tmp_path / f"qa{suffix}", rows)
    assert detect_format(file) == "conversations" == detect_format(tmp_path)
    source = read(file)
    assert len(source) == 12 and source.messages(3) == [Message("user", "第3問，\n有逗號"), Message("assistant", "答3")]
    assert source.fingerprint() == read(tmp_path).fingerprint()
    train, val, names = hold_out(source, 0.25, seed=1)
    again, same = restore(source, names)
    assert len(val) == 3 and len(train) == 9 and again.rows.tolist() == train.rows.tolist()
    assert [val.messages(i) for i in range(3)] == [same.messages(i) for i in range(3)]
    assert train.fingerprint() != val.fingerprint()


def test_a_table_as_spreadsheets_in_chinese_write_it(tmp_path: Path) -> None:
    (tmp_path / "問答.csv").write_bytes('instruction;input;output\r\n問;"多\n行; 有分號";答\r\n'.encode("gb18030"))
    source = read(tmp_path / "問答.csv")
    assert source.messages(0) == [Message("user", "問\n多\n行; 有分號"), Message("assistant", "答")] and source.name(0) == "問答.csv:2"
    assert check(source).notes == ["問答.csv is not UTF-8: read as gb18030"]
    with pytest.raises(Unreadable, match="not text in utf-8"):
        read(tmp_path / "問答.csv", encoding="utf-8")


def test_what_was_judged_once_is_kept_and_what_is_damaged_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIANDAN_HOME", str(tmp_path / "家"))
    file = write(tmp_path / "qa.jsonl", [{"prompt": f"{i}", "completion": "答"} for i in range(5)])
    first = read(file)
    (kept,) = (tmp_path / "家/tokens").iterdir()
    changed = (kept / "json.bin").stat().st_mtime_ns
    assert read(file).messages(3) == first.messages(3) and (kept / "json.bin").stat().st_mtime_ns == changed
    data = bytearray((kept / "json.bin").read_bytes())
    data[10] ^= 1
    (kept / "json.bin").unlink()
    (kept / "json.bin").write_bytes(data)  # of the same length: nothing but its hash tells
    assert [read(file).messages(i) for i in range(5)] == [first.messages(i) for i in range(5)]
    assert (kept / "json.bin").read_bytes() != bytes(data)
    again = pickle.loads(pickle.dumps(read(file)))
    assert again.messages(4) == first.messages(4) and len(pickle.dumps(again)) < 3000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'{"instruction": 1}', "expected a list of rows, got dict"),
        ("a.json", b"[{]", "expected JSON; line 1"),
        ("a.json", b"[]", "expected conversations, found none"),
        ("a.jsonl", b'{"prompt": "a", "completion": "b"}\nnot json', "a.jsonl:2: expected one JSON object a line"),
        ("a.jsonl", "你好".encode("gbk"), "expected one JSON object a line"),
        ("a.csv", b"prompt,prompt\na,b\n", 'the column "prompt" comes twice'),
        ("a.csv", b'prompt,completion\na,"b"c\n', "a.csv:2: not CSV"),
        ("a.json", b"[" * 100_000, "nested deeper"),
        ("a.parquet", b"PAR1 this is none", "expected a parquet file"),
    ],
)
def test_a_file_that_is_not_what_it_is_called(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / name, "conversations")


def test_check_tells_copies_and_lengths(tmp_path: Path) -> None:
    rows = [
        {"prompt": "一二三", "completion": "四"}, {"prompt": "一二", "completion": "三四五"}, {"prompt": "一二三", "completion": "四"},
    ]  # fmt: skip
    report = check(read(write(tmp_path / "問答.jsonl", rows)))
    assert report.count == 3 and report.text == {"shortest": 4, "median": 4, "95%": 4, "longest": 5}
    assert report.duplicates == [["問答.jsonl:1", "問答.jsonl:3"]] and not report.faults
    assert report.notes == ["1 conversations occur more than once: a held-out copy of a training sample flatters the validation"]
