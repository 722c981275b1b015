"""Multiple choice by likelihood, against what can be worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from liandan.data import tokenizer as tokenizers
from liandan.data.chat_pipeline import ChatPipeline, template_of
from liandan.data.choices import Choice, ChoiceSource
from liandan.data.text_pipeline import TextPipeline
from liandan.runtime.device import Device
from liandan.tasks.choices import judge, likelihoods, summary

TEXT = "one two three 白日依山盡，黃河入海流。" * 20


class Unigram(nn.Module):
    """A model that finds token i as likely as any other place does: log-probabilities that are known."""

    def __init__(self, vocab_size: int, context: int = 64) -> None:
        super().__init__()
        self.context = context
        self.log_p = torch.log_softmax(torch.sin(torch.arange(vocab_size, dtype=torch.float64)), 0)

    def forward(self, ids: Tensor) -> Tensor:
        assert ids.shape[1] <= self.context
        return self.log_p.expand(*ids.shape, -1)


def pipeline() -> TextPipeline:
    known = tokenizers.train([TEXT], "bpe", 300)
    return TextPipeline(known, known.vocab_size, 64)


def source(*items: Choice) -> ChoiceSource:
    return ChoiceSource(Path("題.jsonl"), list(items), np.arange(1, len(items) + 1), "")


def test_the_likeliest_is_chosen_in_all_and_by_character() -> None:
    """By a model whose likelihoods are sums of known numbers; two of the rules' answers differ."""
    made = pipeline()
    model = Unigram(made.vocab_size)
    items = [Choice("one two", (" three", "two three one two three", "x"), 1), Choice("白日依山盡，", ("黃河入海流。", "黃"), 0)]
    rows, found = judge(model, made, source(*items), Device())
    for row, item in zip(rows, items, strict=True):
        sums = []
        for text in item.choices:
            before = made.encode(item.question.rstrip())
            whole = made.encode(item.question + ("" if text.startswith((" ", "黃")) else " ") + text)
            sums.append(float(model.log_p[whole[len(before) :]].sum()))
        assert row["loglikelihood"] == pytest.approx(sums, rel=1e-6)
        assert row["prediction"] == int(np.argmax(sums))
        assert row["prediction_norm"] == int(np.argmax([s / len(t) for s, t in zip(sums, item.choices, strict=True)]))
    assert any(row["prediction"] != row["prediction_norm"] for row in rows)  # otherwise nothing tells the two apart
    assert found["chance"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    right = [row["loglikelihood"][row["answer"]] for row in rows]
    octets = len("two three one two three") + 3 * len("黃河入海流。")
    assert found["bits_per_byte"] == pytest.approx(-sum(right) / math.log(2) / octets)


def test_the_standard_error_is_of_the_mean() -> None:
    rows = [
        {"answer": 0, "prediction": p, "prediction_norm": 1 - p, "choices": ["a", "b"], "loglikelihood": [-1.0, -2.0]} for p in (0, 0, 0, 1)
    ]
    found = summary(rows)
    assert (found["accuracy"], found["accuracy_norm"]) == (0.75, 0.25)
    assert found["accuracy_stderr"] == pytest.approx(np.std([1, 1, 1, 0], ddof=1) / math.sqrt(4))
    assert math.isnan(summary(rows[:1])["accuracy_stderr"])


def test_what_is_too_long_loses_its_beginning_and_batches_change_nothing() -> None:
    rng = np.random.default_rng(0)
    model = Unigram(50, context=8)
    lengths = [(3, 2), (20, 4), (1, 1), (5, 12), *[(4, 3)] * 20]
    requests = [(rng.integers(0, 50, given), rng.integers(0, 50, judged)) for given, judged in lengths]
    found = list(likelihoods(model, requests, Device()))
    for score, (_, judged) in zip(found, requests, strict=True):
        assert score == pytest.approx(float(model.log_p[judged[-8:]].sum()), rel=1e-6)
    assert found == pytest.approx([next(likelihoods(model, [request], Device())) for request in requests])


def test_a_model_that_answers_is_asked_by_its_template() -> None:
    known = tokenizers.train([TEXT], "bpe", 300)
    chat = ChatPipeline(known, template_of(known, {}), 64)
    given, judged = chat.request("one", "two", [("three", "one")])
    assert chat.decode(judged) == "two"
    shot = "<|im_start|>user\nthree<|im_end|>\n<|im_start|>assistant\none<|im_end|>\n"
    assert chat.decode(given) == f"{shot}<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\n"
    assert given.tolist() == chat.prompt(
        [{"role": "user", "content": "three"}, {"role": "assistant", "content": "one"}, {"role": "user", "content": "one"}]
    ).tolist()
