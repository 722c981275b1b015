"""Labeled texts: every kind of file, every bad row by its place, and tokens that are transformers' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from liandan.data.check import check, check_splits
from liandan.data.conversations import read_conversations
from liandan.data.errors import DataError, Unreadable
from liandan.data.labeled_text import LabeledText, read_labeled_text
from liandan.data.labeled_text_pipeline import LabeledTextPipeline
from liandan.data.readers import detect_format, read
from liandan.data.split import hold_out, restore
from liandan.data.stats import statistics
from tests.unit.data.tables import write

ROWS = [{"text": f"第{i}条，\n有逗号", "label": "差评" if i % 3 else "好评"} for i in range(12)]


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".parquet"])
def test_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"评论{suffix}", ROWS)
    assert detect_format(file) == "labeled_text" == detect_format(tmp_path)
    source = read(file)
    assert len(source) == 12 and source.text(3) == "第3条，\n有逗号" and source.labels == ["好评", "差评"]
    assert [source.labels[t] for t in source.targets] == [row["label"] for row in ROWS]
    assert source.fingerprint() == read(tmp_path).fingerprint()
    train, val, names = hold_out(source, 0.25, seed=1)
    again, same = restore(source, names)
    assert np.bincount(val.targets).tolist() == [1, 2] and len(train) == 9
    assert val.texts == same.texts and again.names == train.names and train.fingerprint() != val.fingerprint()


def test_other_keys_and_whole_numbers(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"评论": " 好 ", "分": n} for n in (10, 9, 2, 9)])
    with pytest.raises(DataError, match="not recognized as data"):
        read(file)
    source = read(file, "labeled_text", text="评论", label="分")
    assert source.labels == ["2", "9", "10"] and source.targets.tolist() == [2, 1, 0, 1] and source.texts == ["好"] * 4


def test_a_folder_with_a_folder_of_texts_for_each_class(tmp_path: Path) -> None:
    for name, text in (("好评/1.txt", "很好"), ("好评/旧/2.txt", "不错\n\n真的"), ("差评/1.txt", "太差"), ("差评/.x", "")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="gb18030")  # as old editors write Chinese
    assert detect_format(tmp_path) == "text", "texts in folders are most often to be read on, and this is what nobody has asked for"
    source = read(tmp_path, "labeled_text")
    assert list(zip(source.names, source.texts, source.targets.tolist(), strict=True)) == [
        ("好评/1.txt", "很好", 0), ("好评/旧/2.txt", "不错\n\n真的", 0), ("差评/1.txt", "太差", 1)
    ]  # fmt: skip
    with pytest.raises(DataError, match='"差评" is not a class of the training data'):
        read_labeled_text(tmp_path, labels=["好评"])


BAD: list[tuple[Any, str]] = [
    (["a", "b"], "expected an object with keys, got list"),
    ({"txt": "a", "label": "b"}, 'no "text"; did you mean "txt"?'),
    ({"text": "a"}, 'no "label"'),
    ({"text": 3, "label": "b"}, "text: expected text, got int"),
    ({"text": None, "label": "b"}, "text: expected text, got nothing"),
    ({"text": " \n", "label": "b"}, "text: is empty"),
    ({"text": "a", "label": 0.5}, "label: expected a name or a whole number, got 0.5"),
    ({"text": "a", "label": None}, "label: expected a name or a whole number, got nothing"),
    ({"text": "a", "label": " "}, "label: is empty"),
    ({"text": "a", "label": "neutrall"}, 'label: "neutrall" is not a class of the training data; did you mean "neutral"?'),
]


def test_all_bad_rows_are_told_with_their_lines(tmp_path: Path) -> None:
    file = write(tmp_path / "评论.jsonl", [{"text": "a", "label": "neutral"}, *(row for row, _ in BAD)])
    with pytest.raises(DataError) as caught:
        read_labeled_text(file, labels=["neutral"])
    told = str(caught.value)
    assert f"{len(BAD)} of {len(BAD) + 1} rows are no texts with a label each" in told
    for line, (_, message) in enumerate(BAD, 2):
        assert f"评论.jsonl:{line}: {message}" in told
    assert told.endswith('a row looks like {"text": "...", "label": "positive"}')


def test_a_comma_without_quotes_is_no_other_label(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n好,好评\n不错,推荐,好评\n", encoding="utf-8")
    with pytest.raises(DataError, match="a.csv:3: .* stands in double quotes"):
        read(tmp_path / "a.csv")


def test_it_is_not_taken_for_conversations_nor_they_for_it(tmp_path: Path) -> None:
    both = write(tmp_path / "both.jsonl", [{"prompt": "a", "completion": "b", "text": "a", "label": "b"}])
    assert detect_format(both) == "conversations" and len(read_conversations(both)) == 1
    with pytest.raises(DataError, match="expected texts with a label each, found conversations"):
        LabeledTextPipeline.fit(read(both))


def source(texts: list[str]) -> LabeledText:
    names = [f"a.jsonl:{i}" for i in range(len(texts))]
    return LabeledText(Path("a.jsonl"), texts, np.arange(len(texts)) % 2, ["a", "b"], names, [["a.jsonl", 1, ""]])


def test_check_tells_copies_and_contradictions(tmp_path: Path) -> None:
    rows = [*ROWS, ROWS[0], {**ROWS[1], "label": "好评"}, *({"text": f"{i}", "label": "差评"} for i in range(60))]
    report = check(read(write(tmp_path / "a.jsonl", rows)))
    assert report.classes == {"好评": 6, "差评": 68} and report.text == {"shortest": 1, "median": 2, "95%": 8, "longest": 9}
    assert report.duplicates == [["a.jsonl:1", "a.jsonl:13"], ["a.jsonl:2", "a.jsonl:14"]]
    assert report.faults == ["1 texts stand in several classes: a.jsonl:2 = a.jsonl:14"]
    assert [note.split(":")[0] for note in report.notes] == ["1 texts occur more than once", "classes are uneven, 6 to 68 texts"]


def test_check_tells_what_two_splits_share(tmp_path: Path) -> None:
    train = read(write(tmp_path / "a.jsonl", ROWS))
    held = [{"text": "没见过", "label": "差评"}, ROWS[3], {"text": f" {ROWS[4]['text']}", "label": "好评"}]
    val = read(write(tmp_path / "b.jsonl", held), labels=train.labels)
    reports = check_splits({"train": train, "val": val})
    assert [(row["name"], row["other"], row["split"]) for row in reports["val"].leaks] == [
        ("b.jsonl:2", "a.jsonl:4", "train"), ("b.jsonl:3", "a.jsonl:5", "train"),
    ]  # fmt: skip
    assert not reports["train"].faults and reports["val"].faults[0].startswith("2 of 3 texts are in another split too (same content)")


def test_statistics_count_classes_and_bytes(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", ROWS)
    found = statistics(read(file))
    assert found.classes == {"好评": 4, "差评": 8} and found.bytes == file.stat().st_size
    assert found.balance["majority"] == 8 / 12


TEXTS = ["今天天气很好", "坏", "The weather is good, 今天", "好" * 40]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a WordPiece tokenizer, whose file asks for padding and truncation, as those of sentence encoders do."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import BertProcessing

    folder = tmp_path_factory.mktemp("编码器")
    made = BertWordPieceTokenizer()
    made.train_from_iterator(TEXTS, vocab_size=80, show_progress=False)
    sep, cls = (made.token_to_id(token) for token in ("[SEP]", "[CLS]"))
    made._tokenizer.post_processor = BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    made.enable_truncation(8)
    made.enable_padding(length=16)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made._tokenizer, model_max_length=24, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]"
    )
    fast.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 32}))
    return folder


def test_tokens_are_those_of_transformers(bert: Path) -> None:
    from transformers import AutoTokenizer

    from liandan import models

    own = models.defaults(f"hf/{bert}")
    pipeline = LabeledTextPipeline.fit(source(TEXTS), text={"tokenizer": "auto", "context": 12}, defaults=own)
    theirs = AutoTokenizer.from_pretrained(bert)(TEXTS, truncation=True, max_length=12, padding="longest")
    samples = pipeline.samples(source(TEXTS), training=True)
    found = samples.batch(np.arange(4))
    assert found["ids"].tolist() == theirs["input_ids"] and found["mask"].long().tolist() == theirs["attention_mask"]
    assert found["ids"].shape[1] == 12 and found["label"].tolist() == [0, 1, 0, 1]

    again = LabeledTextPipeline.from_json(json.loads(json.dumps(pipeline.to_json())))
    same = again.collate([again.example(text) for text in TEXTS])
    assert torch.equal(same["ids"], found["ids"]) and torch.equal(same["mask"], found["mask"]) and "label" not in same
    with pytest.raises(DataError, match="the model sees at most 24 tokens, got 25"):
        LabeledTextPipeline.fit(source(TEXTS), text={"tokenizer": "auto", "context": 25}, defaults=own)
    with pytest.raises(DataError, match="more than the tokenizer's 2 special tokens, got 2"):
        LabeledTextPipeline.fit(source(TEXTS), text={"tokenizer": "auto", "context": 2}, defaults=own)


@pytest.mark.parametrize("kind", ["bpe", "characters"])
def test_a_tokenizer_is_trained_where_the_model_has_none(kind: str) -> None:
    pipeline = LabeledTextPipeline.fit(source(TEXTS), text={"tokenizer": kind, "vocab_size": 300, "context": 500})
    samples = pipeline.samples(source([*TEXTS, "没见过的字𠮷"]), training=False)
    assert [pipeline.tokenizer.decode(samples.sample(i)["ids"]) for i in range(5)] == [*TEXTS, "没见过的字𠮷"]
    with pytest.raises(Unreadable, match="expected a text"):
        pipeline.example(" ")


def test_a_file_is_read_where_its_name_is_given(tmp_path: Path) -> None:
    pipeline = LabeledTextPipeline.fit(source(TEXTS), text={"tokenizer": "characters", "context": 50})
    file, empty, binary = tmp_path / "一条.txt", tmp_path / "empty.txt", tmp_path / "binary.txt"
    file.write_text("天气很好\n", encoding="gb18030")
    empty.touch()
    binary.write_bytes(bytes(range(256)))
    for said, meant in ((str(file), "天气很好"), ("没有.txt", "没有.txt"), ("很" * 5000 + ".txt", "很" * 50)):
        assert pipeline.tokenizer.decode(pipeline.example(said)["ids"]) == meant
    for unreadable in (empty, binary):
        with pytest.raises(Unreadable, match=unreadable.name):
            pipeline.example(str(unreadable))
