"""Questions with choices: what a row may be, every bad row by its place, and how a question is written out as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liandan.data.check import check
from liandan.data.choices import Choice, between, choice, read_choices, written_out
from liandan.data.errors import DataError
from liandan.data.few_shot import read_shots
from liandan.data.readers import detect_format, read

ROW = {"question": "白日依山盡，", "choices": ["疑是地上霜。", "黃河入海流。"], "answer": 1}


def test_the_answer_is_a_place_or_a_text() -> None:
    assert choice(ROW) == choice({**ROW, "answer": "黃河入海流。"}) == Choice(ROW["question"], tuple(ROW["choices"]), 1)
    numbers = {"question": "1 + 2 =", "choices": ["1", "3", "0"]}
    assert choice({**numbers, "answer": "1"}).answer == 0 and choice({**numbers, "answer": 1}).answer == 1


BAD: list[tuple[Any, str]] = [
    (["a"], "expected an object with keys, got list"),
    ({"choices": ["a", "b"]}, "no question and no answer"),
    ({**ROW, "question": " "}, "question: expected text, got ' '"),
    ({**ROW, "choices": "疑是地上霜。"}, "choices: expected a list of two texts or more, got '疑是地上霜。'"),
    ({**ROW, "choices": ["a"], "answer": 0}, "choices: expected a list of two texts or more"),
    ({**ROW, "choices": ["a", " "]}, "choices: expected a list of two texts or more"),
    ({**ROW, "choices": ["a", "a"]}, "choices: expected different texts"),
    ({**ROW, "answer": 2}, "answer: expected one of the choices, or its place from 0 to 1; got 2"),
    ({**ROW, "answer": -1}, "its place from 0 to 1; got -1"),
    ({**ROW, "answer": True}, "its place from 0 to 1; got True"),
    ({**ROW, "answer": "B"}, "its place from 0 to 1; got 'B'"),
]


@pytest.mark.parametrize(("row", "message"), BAD)
def test_a_bad_row_says_what_is_wrong(row: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choice(row)


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_file_is_known_by_its_keys_and_its_bad_rows_by_their_lines(tmp_path: Path) -> None:
    file = written(tmp_path / "選擇.jsonl", [ROW, {**ROW, "answer": 0}])
    assert detect_format(file) == "choices"
    source = read(file)
    assert [item.answer for item in source.items] == [1, 0] and source.name(1) == "選擇.jsonl:2"
    part = source.subset(np.array([1]))
    assert part.name(0) == "選擇.jsonl:2" and part.fingerprint() != source.fingerprint() and part.manifest() == source.manifest()
    report = check(source)
    assert report.count == 2 and "questions" in report.notes[0]  # the same question twice
    with pytest.raises(DataError, match=r"選擇.jsonl:2: answer: expected one of the choices") as caught:
        read_choices(written(file, [ROW, {**ROW, "answer": 7}]))
    shown = '{"question": "The capital of France is", "choices": ["Rome", "Paris", "Oslo"], "answer": 1}'
    assert str(caught.value).endswith(f"a row looks like {shown}")


def test_words_are_set_apart_and_characters_are_not() -> None:
    assert between("The capital of France is", "Paris") == " "
    for question, answer in (("白日依山盡，", "黃河"), ("1 + 1 =\n", "2"), ("France 的首都是", "Paris"), ("Capital:", "巴黎")):
        assert between(question, answer) == ""
    assert written_out("1 + 1 =", "2") == ("1 + 1 =", " 2")
    assert written_out("1 + 1 =", "2", [("2 + 2 =", "4"), ("上", "下")]) == ("2 + 2 = 4\n\n上下\n\n1 + 1 =", " 2")


def test_examples_come_from_choices_and_from_conversations(tmp_path: Path) -> None:
    assert read_shots(written(tmp_path / "a.jsonl", [ROW])) == [("白日依山盡，", "黃河入海流。")]
    talk = written(tmp_path / "b.jsonl", [{"instruction": "q", "output": "a", "system": "s"}, {"prompt": "c", "completion": "d"}])
    assert read_shots(talk) == [("q", "a"), ("c", "d")]
    several = written(tmp_path / "c.jsonl", [{"instruction": "q", "output": "a", "history": [["x", "y"]]}])
    with pytest.raises(DataError, match=r"c.jsonl:1: expected one question with its answer, got a conversation of 4 turns"):
        read_shots(several)
    (tmp_path / "d.txt").write_text("text\n")
    with pytest.raises(DataError, match="expected examples as rows of choices or of questions with an answer, found text"):
        read_shots(tmp_path / "d.txt")
