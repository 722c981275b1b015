from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liandan.data import tokenizer as tokenizers
from liandan.data.errors import DataError, Unreadable
from liandan.data.kept import Ragged, kept
from liandan.data.readers import detect_format, read
from liandan.data.rows import BadRows
from liandan.data.split import hold_out, restore
from liandan.data.text_pipeline import TextPipeline
from liandan.data.tokens import WindowSamples
from tests.unit.data.tables import write

POEMS = (
    "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。\n\n"
    "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。\n\n\n"
    "Once upon a midnight dreary.\n"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/liandan/tokens"


def text_file(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_documents_join_to_the_text(tmp_path: Path) -> None:
    source = read(text_file(tmp_path / "诗.txt", POEMS))
    assert len(source) == 3 and "".join(source.text(i) for i in range(3)) == POEMS == "".join(source.pieces())
    assert source.text(1) == POEMS[POEMS.index("白日") : POEMS.index("Once")]
    assert source.name(0) == f"诗.txt:0-{len(POEMS[: POEMS.index('白日')].encode())}"
    assert source.subset(np.array([2, 0])).text(0).startswith("Once")


@settings(max_examples=60, deadline=None)
@given(
    text=st.text(alphabet="aé床😀\n\r\t ", min_size=1, max_size=200),
    size=st.integers(1, 64),
    encoding=st.sampled_from(["utf-8", "gb18030"]),
)
def test_any_text_is_read_without_loss(tmp_path_factory: pytest.TempPathFactory, text: str, size: int, encoding: str) -> None:
    path = text_file(tmp_path_factory.mktemp("t") / "a.txt", text.encode(encoding))
    source = read(path, encoding=encoding)
    assert "".join(source.pieces(size)) == text == "".join(source.text(i) for i in range(len(source)))


def test_encodings(tmp_path: Path) -> None:
    marked = read(text_file(tmp_path / "bom.txt", b"\xef\xbb\xbf" + POEMS.encode()))
    assert "".join(marked.pieces()) == POEMS and marked.notes == []
    chinese = read(text_file(tmp_path / "gbk.txt", POEMS.encode("gb18030")))
    assert "".join(chinese.pieces()) == POEMS and chinese.notes == ["gbk.txt is not UTF-8: read as gb18030"]
    for content, reason in [
        (b"a\0b", "zero byte"),
        (POEMS.encode("utf-16"), "UTF-16"),
        (b"\xff\xff\xff hello", "not text in utf-8 or gb18030"),
    ]:
        with pytest.raises(Unreadable, match=reason):
            read(text_file(tmp_path / "bad.txt", content))
    with pytest.raises(Unreadable, match="no encoding"):
        read(tmp_path / "bom.txt", encoding="zlib")
    with pytest.raises(DataError, match="expected text"):
        read(text_file(tmp_path / "none.txt", b"\xef\xbb\xbf"))


def test_a_folder_of_texts(tmp_path: Path) -> None:
    for name, content in (
        ("b.txt", "二\n"),
        ("a.txt", "一\n\n甲"),
        ("sub/c.TXT", "三"),
        (".x.txt", "no"),
        ("d.md", "no"),
        ("empty.txt", ""),
    ):
        text_file(tmp_path / "t" / name, content)
    source = read(tmp_path / "t")
    assert [source.text(i) for i in range(len(source))] == ["一\n\n", "甲", "二\n", "三"]
    assert "".join(source.pieces(4)) == "一\n\n甲二\n三"


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".tsv", ".parquet"])
def test_rows_with_a_text_each(tmp_path: Path, suffix: str) -> None:
    said = [f"第{i}首\n\n“月，{i}”\n" for i in range(150)]
    file = write(tmp_path / f"诗{suffix}", [{"text": text, "author": "李白"} for text in said])
    assert detect_format(file) == "text"
    source = read(file)
    assert [source.text(i) for i in range(150)] == [f"{text.strip()}\n\n" for text in said]
    assert source.fingerprint() == read(file).fingerprint() and source.manifest()[0][0] == file.name
    train, val, names = hold_out(source, 0.1)
    again, same = restore(read(file), names)
    assert len(val) == 15 and same.spans.tolist() == val.spans.tolist() and again.spans.tolist() == train.spans.tolist()
    assert fit(train).samples(val, training=False).tokens.tolist() == fit(train).encode("".join(val.pieces())).tolist()
    with pytest.raises(BadRows, match='expected text under "words"'):
        read(file, "text", text="words")


def test_a_text_that_changed_meanwhile(tmp_path: Path) -> None:
    source = read(text_file(tmp_path / "a.txt", POEMS))
    text_file(tmp_path / "a.txt", POEMS[:20])
    with pytest.raises(Unreadable, match="changed meanwhile"):
        list(source.pieces())


def test_a_span_that_ends_inside_a_character_loses_nothing_silently(tmp_path: Path) -> None:
    source = read(text_file(tmp_path / "a.txt", POEMS))
    with pytest.raises(Unreadable, match="before byte 4"):
        list(source.with_spans(np.array([[0, 0, 4]])).pieces())


@pytest.mark.parametrize("kind", ["bpe", "characters"])
@settings(max_examples=40, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80))
def test_tokenizers_lose_nothing(kind: str, text: str) -> None:
    known = tokenizers.train([POEMS], kind, 300)
    ids = known.encode(text)
    assert known.decode(ids) == text and known.byte_lengths[ids].sum() == len(text.encode())


def test_bpe_learns_pairs_and_keeps_its_size(tmp_path: Path) -> None:
    known = tokenizers.train([POEMS] * 20, "bpe", 300)
    assert known.vocab_size == 300 and len(known.encode(POEMS)) < 0.75 * len(POEMS.encode())
    assert tokenizers.train(["ab"], "bpe", 4096).vocab_size < 300
    with pytest.raises(DataError, match="at least 258"):
        tokenizers.train([POEMS], "bpe", 255)
    with pytest.raises(DataError, match='did you mean "characters"'):
        tokenizers.train([POEMS], "character")


def test_a_long_text_is_learned_from_pieces_spread_over_it() -> None:
    pieces = [f"{n:04d}" for n in range(1000)]
    assert tokenizers.spread(iter(pieces), 4000) == pieces and tokenizers.spread(iter(pieces), 3999) == pieces[::2]
    assert tokenizers.spread(iter(pieces), 101) == pieces[::64] and tokenizers.spread(iter(["long"]), 1) == ["long"]


def test_characters_are_those_of_the_training_text() -> None:
    known = tokenizers.train([POEMS], "characters")
    assert known.vocab_size == 256 + len(set(POEMS)) + len(tokenizers.RESERVED)
    assert len(known.encode("明月光")) == 3 and len(known.encode("鑫")) == 3 and known.encode("鑫").max() < 256


def test_training_a_tokenizer_is_the_same_in_another_process(tmp_path: Path) -> None:
    path = text_file(tmp_path / "a.txt", (Path(__file__).read_text(encoding="utf-8") + POEMS) * 3)
    script = (
        "import sys, json; from liandan.data.readers import read; from liandan.data.tokenizer import train\n"
        "print(json.dumps(train(read(sys.argv[1]).pieces(), 'bpe', 600).to_json(), sort_keys=True))"
    )
    made = []
    for seed, threads in (("1", "true"), ("2", "false")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TOKENIZERS_PARALLELISM": threads, "RAYON_NUM_THREADS": "2"}
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, env=environment)
        made.append(done.stdout)
    assert made[0] == made[1] and len(made[0]) > 1000


def fit(source: Any, context: int = 7, kind: str = "bpe") -> TextPipeline:
    return TextPipeline.fit(source, text={"tokenizer": kind, "vocab_size": 280, "context": context})


@pytest.mark.parametrize("kind", ["bpe", "characters"])
@pytest.mark.parametrize("context", [1, 7, 1000])
def test_every_token_but_the_first_is_predicted_once(tmp_path: Path, kind: str, context: int) -> None:
    source = read(text_file(tmp_path / "a.txt", POEMS))
    pipeline = fit(source, context, kind)
    samples = pipeline.samples(source, training=True)
    whole = pipeline.encode(POEMS)
    batch = samples.batch(np.arange(len(samples)), None)
    predicted = [ids[1 : 1 + n].tolist() for ids, n in zip(batch["ids"], batch["length"].tolist(), strict=True)]
    assert [i for row in predicted for i in row] == whole[1:].tolist()
    assert int(batch["bytes"].sum()) == len(POEMS.encode()) - pipeline.tokenizer.byte_lengths[whole[0]]  # type: ignore[union-attr]
    assert batch["ids"].shape[1] <= context + 1 and all(t.dtype == torch.int64 for t in batch.values())


def test_the_fast_way_gives_the_same(tmp_path: Path) -> None:
    source = read(text_file(tmp_path / "a.txt", POEMS))
    samples = fit(source).samples(source, training=True)
    n = len(samples)
    assert len(samples.sample(n - 1)["ids"]) < 8  # so that padding is tried
    for indices in (np.arange(n), np.array([n - 1]), np.array([2, n - 1, 0])):
        fast, slow = samples.batch(indices), samples.collate([samples.sample(int(i), 5) for i in indices])
        assert fast.keys() == slow.keys() == {"ids", "length", "bytes"} and all(torch.equal(fast[k], slow[k]) for k in fast)
    for wrong in (n, -1):
        with pytest.raises(IndexError):
            samples.sample(wrong)
        with pytest.raises(IndexError):
            samples.batch(np.array([wrong]))


def test_tokens_are_kept_and_mapped(tmp_path: Path, cache: Path) -> None:
    source = read(text_file(tmp_path / "a.txt", POEMS))
    pipeline = fit(source)
    tokenizers_kept = set(cache.iterdir())
    first = pipeline.samples(source, training=True)
    (kept,) = set(cache.iterdir()) - tokenizers_kept
    file = kept / "ids.bin"
    assert len(tokenizers_kept) == 1 and isinstance(first.tokens, np.memmap) and first.tokens.dtype == np.uint16
    assert np.array_equal(np.fromfile(file, np.uint16), pipeline.encode(POEMS))
    before = file.stat().st_mtime_ns
    pipeline.samples(source, training=False)
    assert file.stat().st_mtime_ns == before
    whole = file.read_bytes()
    for damaged in (whole[:-2], bytes([whole[0] ^ 1]) + whole[1:]):
        file.unlink()
        file.write_bytes(damaged)
        assert np.array_equal(pipeline.samples(source, training=True).tokens, first.tokens) and file.read_bytes() == whole
    fit(source, kind="characters").samples(source, training=True)
    text_file(tmp_path / "a.txt", POEMS.replace("山", "水"))  # same size, other content
    pipeline.samples(read(tmp_path / "a.txt"), training=True)
    assert len(list(cache.iterdir())) == 5  # two tokenizers, three texts encoded


def test_a_tokenizer_that_was_trained_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = read(text_file(tmp_path / "a.txt", POEMS))
    first = fit(source).to_json()
    monkeypatch.setattr(tokenizers, "train", None)  # to call it would raise
    assert fit(source).to_json() == first
    for other in (read(text_file(tmp_path / "a.txt", POEMS.replace("山", "水"))), source.subset(np.array([0]))):
        with pytest.raises(TypeError):
            fit(other)


def test_the_same_bytes_in_another_encoding_are_another_text(tmp_path: Path) -> None:
    path = text_file(tmp_path / "a.txt", POEMS.encode("gb18030"))
    pipeline = fit(read(path))
    chinese, latin = (pipeline.samples(read(path, encoding=name), training=True).tokens for name in ("gb18030", "latin-1"))
    assert pipeline.decode(chinese) == POEMS and pipeline.decode(latin) == POEMS.encode("gb18030").decode("latin-1")


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(text_file(tmp_path / "file", "no folder")))
    source = read(text_file(tmp_path / "a.txt", POEMS))
    samples = fit(source).samples(source, training=True)
    assert np.array_equal(samples.tokens, fit(source).encode(POEMS))


def test_pieces_do_not_change_with_the_reading(tmp_path: Path) -> None:
    text = "".join(f"第{n}行，" + "字" * (n % 37) + "\n" for n in range(3000))
    source = read(text_file(tmp_path / "a.txt", text))
    pieces = list(source.pieces(4096))
    assert "".join(pieces) == text and all(piece.endswith("\n") for piece in pieces) and len(pieces) > 20
    assert list(source.with_spans(source.spans).pieces(4096)) == pieces


def test_json_round_trip(tmp_path: Path) -> None:
    source = read(text_file(tmp_path / "a.txt", POEMS))
    for kind in ("bpe", "characters"):
        pipeline = fit(source, kind=kind)
        again = TextPipeline.from_json(json.loads(json.dumps(pipeline.to_json())))
        assert again.describe() == pipeline.describe() == {"vocab_size": pipeline.vocab_size, "context": 7}
        assert torch.equal(again.example("春眠不觉晓 new")["ids"], pipeline.example("春眠不觉晓 new")["ids"])
        assert again.decode(pipeline.encode("春眠不觉晓")) == "春眠不觉晓"
        assert again.collate([again.example("明月")])["bytes"].item() == 6 - again.tokenizer.byte_lengths[again.encode("明月")[0]]  # type: ignore[union-attr]


def test_too_short(tmp_path: Path) -> None:
    source = read(text_file(tmp_path / "a.txt", "a"))
    with pytest.raises(DataError, match="at least 2 tokens"):
        fit(source).samples(source, training=False)
    with pytest.raises(DataError, match="at least 1 token"):
        fit(source, context=0)


def test_tokens_from_elsewhere(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 1000, 5001).astype(np.uint16)
    np.save(tmp_path / "t.npy", ids)
    ids.tofile(tmp_path / "t.bin")
    ids.astype(np.uint32).tofile(tmp_path / "w.bin")
    for source in (read(tmp_path / "t.npy"), read(tmp_path / "t.bin"), read(tmp_path / "w.bin", dtype="uint32")):
        pipeline = TextPipeline.fit(source, text={"context": 100})
        samples = pipeline.samples(source, training=True)
        assert len(samples) == 50 and pipeline.describe() == {"vocab_size": int(ids.max()) + 1, "context": 100}
        assert samples.sample(49)["ids"].tolist() == ids[4900:].tolist()
        assert samples.batch(np.array([3]))["bytes"].item() == 0
        again = pickle.loads(pickle.dumps(samples))
        assert torch.equal(again.batch(np.arange(50))["ids"], samples.batch(np.arange(50))["ids"]) and len(pickle.dumps(samples)) < 1000
    with pytest.raises(DataError, match="without a tokenizer"):
        pipeline.encode("a")
    assert TextPipeline.from_json(pipeline.to_json()).tokenizer is None


def test_tokens_that_are_none(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.zeros(9, np.float32))
    np.save(tmp_path / "d.npy", np.zeros((3, 3), np.uint16))
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "big.npy", np.full(9, 999, np.uint16))
    text_file(tmp_path / "odd.bin", b"abc")
    for name, reason in (("f", "float32"), ("d", r"\(3, 3\)"), ("o", "expected a .npy array")):
        with pytest.raises(DataError, match=reason):
            read(tmp_path / f"{name}.npy")
    with pytest.raises(DataError, match="3 bytes"):
        read(tmp_path / "odd.bin")
    with pytest.raises(DataError, match="holds id 999"):
        read(tmp_path / "big.npy", vocab_size=100)
    with pytest.raises(DataError, match="ids up to 999, expected below 10"):
        TextPipeline(None, 10, 4).samples(read(tmp_path / "big.npy"), training=False)


def test_a_thousand_million_windows_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "sparse.bin"
    with path.open("wb") as file:
        file.truncate(2 * (10**9 + 1))
        file.seek(2 * 999_999_999)
        file.write(np.array([7, 9], np.uint16).tobytes())
    tokens = np.memmap(path, dtype=np.uint16, mode="r")
    samples = WindowSamples(tokens, 0, len(tokens), 1)
    assert len(samples) == 10**9
    assert samples.batch(np.array([0, 10**9 - 1]))["ids"].tolist() == [[0, 0], [7, 9]]
    assert samples.name(10**9 - 1) == "tokens 999999999-1000000001"


def test_what_is_kept_appears_whole_or_not_at_all(cache: Path) -> None:
    def parts(fail: bool) -> Any:
        yield {"ids": np.arange(5, dtype=np.uint32), "length": np.array([5])}
        if fail:
            raise DataError("row 6 is none")
        yield {"ids": np.arange(70_000, 70_003, dtype=np.uint32), "length": np.array([3])}

    with pytest.raises(DataError, match="row 6"):
        kept("facts", lambda: parts(True))
    assert list(cache.iterdir()) == []
    found = kept("facts", lambda: parts(False))
    assert found["ids"].tolist() == [0, 1, 2, 3, 4, 70_000, 70_001, 70_002] and len(list(cache.iterdir())) == 1
    ragged = pickle.loads(pickle.dumps(Ragged(found)))
    assert ragged.of("ids", 1).tolist() == [70_000, 70_001, 70_002] and len(pickle.dumps(ragged)) < 1000
    assert kept("others", lambda: [{"ids": np.zeros(0, np.uint16)}])["ids"].dtype == np.uint16
