"""Text from tokens: whole characters, and nothing of a stop string, however tokens cut either."""

from __future__ import annotations

import itertools
import random

import pytest
import torch

from liandan.data import tokenizer as tokenizers
from liandan.models.writing import Piece, TextStream, write

TEXT = "床前明月光，疑是地上霜。STOP 舉頭望明月🌕"


def of_bytes(ids: list[int]) -> str:
    """The simplest tokenizer: a token a byte."""
    return bytes(ids).decode("utf-8", errors="replace")


def pieces(stream: TextStream, ids: list[int]) -> list[str]:
    return [*(stream.add(token) for token in ids), stream.end()]


def expected(text: str, stops: list[str]) -> str:
    """Read character by character; the text ends as soon as it ends in a stop string, before the longest such."""
    for end in range(1, len(text) + 1):
        ended = [stop for stop in stops if text[:end].endswith(stop)]
        if ended:
            return text[: end - max(map(len, ended))]
    return text


def test_bytes_of_a_character_come_together() -> None:
    made = pieces(TextStream(of_bytes), list(TEXT.encode()))
    assert "".join(made) == TEXT
    assert [piece for piece in made if piece] == list(TEXT)


def test_bytes_that_make_no_character_come_at_last() -> None:
    broken = "月".encode()[:2]
    assert pieces(TextStream(of_bytes), [*b"a", *broken])[-1] == of_bytes(list(broken))
    assert "".join(pieces(TextStream(of_bytes), [*b"a", *broken, *b"b"])) == of_bytes([*b"a", *broken, *b"b"])


@pytest.mark.parametrize("kind", ["bpe", "characters"])
def test_a_trained_tokenizers_text_is_its_own(kind: str) -> None:
    tokenizer = tokenizers.train([TEXT * 3], kind, 300)
    for text in (TEXT, "没见过的字 unseen ✨", "  space  "):
        ids = tokenizer.encode(text).tolist()
        assert "".join(pieces(TextStream(tokenizer.decode), ids)) == text


def test_what_was_told_is_as_much_as_is_settled() -> None:
    """After each token: all whole characters but those that may begin a stop string."""
    stream, told = TextStream(of_bytes, ["。S"]), ""
    for k, byte in enumerate(TEXT.encode(), 1):
        told += stream.add(byte)
        whole = TEXT.encode()[:k].decode(errors="ignore")
        assert told == (whole.partition("。S")[0] if "。S" in whole else whole.removesuffix("。"))
    assert stream.stopped and told == "床前明月光，疑是地上霜"


def test_stops_do_not_depend_on_where_tokens_are_cut() -> None:
    """Against reading character by character, for random texts, stops and cuts; a token here is up to five characters."""
    chance = random.Random(0)
    for _ in range(400):
        text = "".join(chance.choices("ab月。", k=12))
        stops = ["".join(chance.choices("ab月。", k=chance.randint(1, 4))) for _ in range(chance.randint(1, 3))]
        cuts = sorted({0, len(text), *chance.choices(range(len(text)), k=4)})
        words = [text[a:b] for a, b in itertools.pairwise(cuts)]
        made = pieces(TextStream(lambda ids, words=words: "".join(words[i] for i in ids), stops), list(range(len(words))))
        assert "".join(made) == expected(text, stops), (words, stops)


def test_an_empty_stop_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one character"):
        TextStream(of_bytes, [""])


def test_several_texts_end_each_for_its_own_reason() -> None:
    rows = [b"ab\x00zz", b"xSTOP", b"abcde", "月月".encode()[:5]]
    done = torch.zeros(4, dtype=torch.bool)
    made = (torch.tensor(column) for column in zip(*rows, strict=True))
    told: dict[int, list[Piece]] = {i: [] for i in range(4)}
    for piece in write(made, done, of_bytes, [9, 9, 4, 5], ends=[0], stops=["STOP"]):
        told[piece.sequence].append(piece)
    assert ["".join(p.text for p in told[i]) for i in range(4)] == ["ab", "x", "abcd", "月\ufffd"]
    assert [(told[i][-1].finish, told[i][-1].tokens) for i in range(4)] == [("stop", 3), ("stop", 5), ("length", 4), ("length", 5)]
    assert all(p.finish == "" for i in range(4) for p in told[i][:-1])
    assert done.all()


def test_text_that_goes_on_begins_where_its_prompt_ended() -> None:
    """A tokenizer that writes no space before its first token, as SentencePiece's do, writes one when there is something before it."""
    words = ["▁the", "▁moon", "▁rose"]

    def decode(ids: list[int]) -> str:
        return "".join(words[i] for i in ids).replace("▁", " ").removeprefix(" ")

    assert pieces(TextStream(decode), [1, 2])[:2] == ["moon", " rose"]
    assert pieces(TextStream(decode, before=[0]), [1, 2])[:2] == [" moon", " rose"]
    assert "".join(pieces(TextStream(of_bytes, before=list("月".encode()[:1])), list("月".encode()[1:]))) == "月"
