"""Copies and near copies of texts, Chinese and others, by shingles; what stands in the validation data; the file of what is left."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from liandan.data.conversations import read_conversations
from liandan.data.dedup import find_copies, write_texts
from liandan.data.near_texts import near, shared, shingles, similarity
from liandan.data.readers import read
from tests.unit.data.tables import write

pytest.importorskip("datasketch")

SAID = "白日依山尽黄河入海流欲穷千里目更上一层楼"


def jaccard(a: str, b: str) -> float:
    """Of the sets of runs of three characters, by sets of strings."""
    one, other = ({text[i : i + 3] for i in range(len(text) - 2)} for text in (a, b))
    return len(one & other) / len(one | other)


def test_shingles_are_the_sets_they_stand_for() -> None:
    other = SAID.replace("海", "江")
    assert similarity(shingles(SAID, 3), shingles(other, 3)) == jaccard(SAID, other)
    assert len(shingles(SAID, 3)) == len(SAID) - 2 and len(shingles("一二", 3)) == 1 and len(shingles("，。", 3)) == 0
    same = ["The quick brown fox, jumps!", "the QUICK brown fox jumps", "ｔｈｅ　quick brown fox\njumps."]
    assert len({tuple(shingles(text, 3).tolist()) for text in same}) == 1 and len(shingles(same[0], 3)) == 3
    assert len(shingles("版本3.14发布了", 3)) == 5  # 版 本 3 14 发 布 了


@pytest.mark.parametrize("language", ["zh", "en"])
def test_near_copies_are_found_and_judged_exactly(language: str) -> None:
    draw = random.Random(0)
    words = [chr(0x4E00 + draw.randrange(3000)) if language == "zh" else f"w{draw.randrange(3000)}" for _ in range(60 * 300)]
    join = ("" if language == "zh" else " ").join
    originals = [words[60 * i : 60 * i + 60] for i in range(300)]
    copies = [[*text[:30], "新" if language == "zh" else "new", *text[31:]] for text in originals]  # 55 of 61 shingles stay: 0.90
    others = [[*text[:20], *reversed(text[20:])] for text in originals]  # a third stays
    found = near([join(text) for text in originals + copies + others])
    assert len(found) >= 0.99 * 300 and all(j == i + 300 for i, j in found)


def test_shared_counts_runs_of_eight() -> None:
    assert list(shared([SAID, SAID[:10] + "东" * 10, "短句", ""], ["序言" + SAID + "完"], 8)) == [1.0, 3 / 13, 0.0, 0.0]


def poem(seed: int) -> str:
    draw = random.Random(seed)
    return "".join(chr(0x4E00 + draw.randrange(3000)) for _ in range(28))


ROWS = [{"instruction": "以此为题作诗", "output": poem(i)} for i in range(5)]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_what_is_left_is_a_file_of_the_same_kind(tmp_path: Path, suffix: str) -> None:
    rows = [{**row, "id": f"n{k}"} for k, row in enumerate([*ROWS, ROWS[2], {**ROWS[3], "output": ROWS[3]["output"] + "！"}])]
    source = read(write(tmp_path / f"问答{suffix}", rows))
    found = find_copies(source)
    assert [row["of"] for row in found.exact] == [source.name(2)] and [row["of"] for row in found.near] == [source.name(3)]
    assert found.kept.tolist() == [0, 1, 2, 3, 4] and json.loads(json.dumps(found.to_json()))["kept"] == 5
    write_texts(source.subset(found.kept), tmp_path / f"out{suffix}")
    again = read_conversations(tmp_path / f"out{suffix}")
    assert [again.messages(i) for i in range(5)] == [source.messages(i) for i in range(5)]
    assert "n4" in (tmp_path / "out.jsonl").read_text(encoding="utf-8") if suffix == ".jsonl" else True  # columns that nobody reads stay
    assert find_copies(source, None).near == []


def test_texts_that_give_the_validation_away_are_left_out(tmp_path: Path) -> None:
    poems = [{"text": row["output"], "label": "诗"} for row in ROWS]
    train = read(write(tmp_path / "train.jsonl", [*poems, {"text": "好", "label": "评"}]))
    held = [{"text": "读后感：" + ROWS[1]["output"] + "我很喜欢", "label": "诗"}, {"text": "好", "label": "评"}]
    val = read(write(tmp_path / "val.jsonl", held), labels=train.labels)
    found = find_copies(train, None, {"val": val})
    leaks = [(row["name"], row["split"], row["share"]) for row in found.leaks]
    assert leaks == [("train.jsonl:2", "val", 1.0), ("train.jsonl:6", "val", 1.0)]
    assert found.kept.tolist() == [0, 2, 3, 4]


def test_documents_are_deduplicated_too(tmp_path: Path) -> None:
    poems = [f"第{i}首\n{poem(i)}\n\n" for i in range(6)]
    (tmp_path / "诗.txt").write_text("".join([*poems, poems[3]]), encoding="gb18030")
    source = read(tmp_path / "诗.txt", "text")
    found = find_copies(source)
    assert len(found.exact) == 1 and found.near == [] and len(found.kept) == 6
    write_texts(source.subset(found.kept), tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "".join(poems)
    assert np.array_equal(found.kept, np.arange(6))
