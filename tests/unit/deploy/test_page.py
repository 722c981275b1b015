"""What the page makes of answers and refusals, and what it lets through to Gradio."""

from __future__ import annotations

import json

import pytest

from liandan.deploy import page, page_views
from liandan.deploy.errors import ServeError
from liandan.deploy.page_gate import plain
from liandan.deploy.page_words import WORDS

EVIL = "<script>alert('x')</script>"


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en-GB,en;q=0.9,zh;q=0.8", "en"), ("fr-FR,fr;q=0.9,zh-TW;q=0.5", "zh"), ("", "en"), ("*", "en"),
        ("de", "en"), ("ZH", "zh"), (";;,,", "en"),
    ],
)  # fmt: skip
def test_the_first_language_that_there_is(accepted: str, language: str) -> None:
    assert page.spoken(accepted) == language


def test_both_languages_say_the_same_things() -> None:
    en, zh = WORDS["en"], WORDS["zh"]
    assert list(en) == list(zh)
    for key, text in en.items():
        places = [{part.partition("}")[0] for part in said.split("{")[1:]} for said in (text, zh[key])]
        assert places[0] == places[1], key
        assert "<" not in text + zh[key], "words go into HTML as they are"


def test_every_refusal_has_words() -> None:
    for words in WORDS.values():
        assert all(key in words for key in page_views._SAID.values())
        assert page_views.refused(words, ServeError(422, "unreadable", "english")) == words["refused.unreadable"]
        told = page_views.refused(words, ServeError(400, "some_code", EVIL))
        assert "&lt;script&gt;" in told and EVIL not in told


def test_labels_are_text() -> None:
    words = WORDS["en"]
    one = {"label": EVIL, "confidence": 1.0, "top": [{"label": EVIL, "confidence": 1.0}]}
    several = {"labels": [EVIL, "b"], "top": [{"label": EVIL, "confidence": 0.9}, {"label": "b", "confidence": 0.8}]}
    heads = {"labels": {EVIL: EVIL}, "confidence": {EVIL: 0.5}}
    for found in (one, several, heads):
        html = page_views._best(words, found) + page_views._list(page_views.bars(found))
        assert "<script" not in html and "&lt;script&gt;" in html


def test_bars_of_every_task() -> None:
    top = [{"label": str(k), "confidence": 1 / (k + 2)} for k in range(9)]
    assert page_views.bars({"label": "0", "confidence": 0.5, "top": top}) == [(str(k), 1 / (k + 2)) for k in range(5)]
    heads = {"labels": {"color": "red", "shape": "round"}, "confidence": {"color": 0.9, "shape": 0.4}}
    assert page_views.bars(heads) == [("color: red", 0.9), ("shape: round", 0.4)]
    assert WORDS["en"]["result.none"] in page_views._best(WORDS["en"], {"labels": [], "top": top})


@pytest.mark.parametrize(
    "kept", ["", "x", "{}", "[1]", '[{"role":"system","content":"a"}]', '[{"role":"user","content":[{"path":"/"}]}]', "[" * 99_999]
)
def test_what_is_no_conversation_is_an_empty_one(kept: str) -> None:
    assert page_views.messages_of(kept) == []


def test_a_conversation_comes_back() -> None:
    said = [{"role": "user", "content": "你好"}, {"role": "assistant", "content": EVIL}]
    assert page_views.messages_of(json.dumps([{**row, "metadata": None} for row in said])) == said


def test_an_event_is_text_and_numbers() -> None:
    assert plain(json.dumps({"data": ["text", 1, 0.5, True, None], "fn_index": 0}).encode())
    file = {"path": "http://127.0.0.1/", "meta": {"_type": "gradio.FileData"}}
    for data in ([file], [[file]], [{"a": file}], [["a"]], {}, "text", None):
        assert not plain(json.dumps({"data": data}).encode()), data
    for body in (b"", b"x", b"[]", b"\xff", b'{"fn_index": 0}', b"[" * 99_999, b'{"data": [NaN]}'):
        assert not plain(body)
