"""Multiple choice by likelihood: of several answers the model takes the one it finds likeliest after the question.

accuracy        of the largest log-likelihood, summed over the tokens of the answer: `acc` of lm-evaluation-harness
accuracy_norm   of the largest log-likelihood by character of the answer, so that short answers have no advantage: its `acc_norm`

Questions and answers are cut into tokens as there: as plain text for a model that learned to write, by its template for one that answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import nn

from liandan.data.choices import ChoiceSource, Shots
from liandan.tasks.language_model import next_token
from liandan.tasks.task import World

METRICS = ("accuracy", "accuracy_norm", "accuracy_stderr", "chance", "bits_per_byte")
_TOGETHER = 16  # sequences of one forward pass

Request = tuple[np.ndarray, np.ndarray]
"""int64 tokens: what is given, and what is judged after it."""


def judge(
    model: nn.Module, pipeline: Any, source: ChoiceSource, world: World, shots: Shots = ()
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Each question with the log-likelihoods of its answers (nats), and {metric: value} of all of them.

    Args:
        model: tokens in, logits out.
        pipeline: with `request(question, answer, shots)`.
        shots: shown before each question.

    Returns:
        `accuracy`, `accuracy_norm`, `chance` are fractions of 1, `accuracy_stderr` is the standard error of the first;
        `bits_per_byte` is of the right answers, which tells small models apart that do no better than chance.
    """
    requests = [pipeline.request(item.question, text, shots) for item in source.items for text in item.choices]
    found = likelihoods(model, requests, world)
    rows: list[dict[str, Any]] = []
    for i, item in enumerate(source.items):
        scores = [next(found) for _ in item.choices]
        by_character = [score / len(text) for score, text in zip(scores, item.choices, strict=True)]
        rows.append({
            "name": source.name(i), "question": item.question, "choices": list(item.choices), "answer": item.answer,
            "prediction": scores.index(max(scores)), "prediction_norm": by_character.index(max(by_character)), "loglikelihood": scores,
        })  # fmt: skip
    return rows, summary(rows)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """{metric: value} of questions; nothing else enters."""
    accuracy = fmean(row["prediction"] == row["answer"] for row in rows)
    bits = -math.fsum(row["loglikelihood"][row["answer"]] for row in rows) / math.log(2)
    return {
        "accuracy": accuracy,
        "accuracy_norm": fmean(row["prediction_norm"] == row["answer"] for row in rows),
        "accuracy_stderr": math.sqrt(accuracy * (1 - accuracy) / (len(rows) - 1)) if len(rows) > 1 else math.nan,
        "chance": fmean(1 / len(row["choices"]) for row in rows),
        "bits_per_byte": bits / sum(len(row["choices"][row["answer"]].encode()) for row in rows),
    }


@torch.no_grad()
def likelihoods(model: Any, requests: Sequence[Request], world: World) -> Iterator[float]:
    """Log-likelihood (nats) of what is judged after what is given; what the model has no room for is cut off at the beginning."""
    for at in range(0, len(requests), _TOGETHER):
        several = [(np.concatenate(request)[-(model.context + 1) :], len(request[1])) for request in requests[at : at + _TOGETHER]]
        longest = max(len(whole) for whole, _ in several) - 1
        ids = torch.zeros(len(several), longest, dtype=torch.int64)
        target = torch.full_like(ids, -100)
        for row, (whole, judged) in enumerate(several):
            end, start = len(whole) - 1, max(0, len(whole) - 1 - judged)
            ids[row, :end] = torch.from_numpy(whole[:-1])
            target[row, start:end] = torch.from_numpy(whole[1 + start :])
        batch = world.move({"ids": ids, "target": target})
        with world.autocast():
            logits = model(batch["ids"])
        yield from (-next_token(logits, batch["target"]).double().sum(1)).tolist()
