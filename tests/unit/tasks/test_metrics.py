"""Every metric against another project's code, on random and on awkward cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance
from sklearn import metrics as sklearn

from liandan.tasks.image_classification import ImageClassification
from liandan.tasks.language_model import LanguageModel, next_token
from liandan.tasks.metrics import classification, confusion_matrix, sliced_wasserstein


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_classification_is_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = [a for a, _ in pairs], [b for _, b in pairs]
    found = classification(labels, predictions, 5)
    precision, recall, f1, _ = sklearn.precision_recall_fscore_support(labels, predictions, average="macro", zero_division=0)  # pyright: ignore[reportArgumentType]
    expected = {"accuracy": sklearn.accuracy_score(labels, predictions), "precision": precision, "recall": recall, "f1": f1}
    assert found == pytest.approx(expected, abs=1e-6)
    assert (confusion_matrix(labels, predictions, 5) == sklearn.confusion_matrix(labels, predictions, labels=range(5))).all()


def test_top5_and_loss_are_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 9, generator=generator), torch.randint(9, (50,), generator=generator)
    task = ImageClassification(None, [str(i) for i in range(9)], {"in_chans": 1, "size": [8, 8]})
    found = task.summary(task.judge({"logits": logits}, {"index": torch.arange(50), "label": labels}))
    probabilities = logits.double().softmax(1).numpy()
    assert found["top5"] == pytest.approx(sklearn.top_k_accuracy_score(labels.numpy(), probabilities, k=5, labels=range(9)))
    assert found["loss"] == pytest.approx(sklearn.log_loss(labels.numpy(), probabilities, labels=range(9)), rel=1e-6)


def test_sliced_wasserstein_is_scipys_mean() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 30, 7))
    expected = np.mean([wasserstein_distance(a[:, k], b[:, k] + 1) for k in range(7)])
    assert sliced_wasserstein(a, b + 1) == pytest.approx(expected)
    assert sliced_wasserstein(a, a[::-1]) == 0


def test_perplexity_and_bits_per_byte_of_a_uniform_model() -> None:
    """A model that knows nothing of a vocabulary of 256 single bytes: perplexity 256, 8 bits a byte; padding does not count."""
    task = LanguageModel(None, None, {"vocab_size": 256, "context": 6})
    ids = torch.tensor([[1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 0, 0, 0, 0]])
    batch = {"index": torch.arange(2), "ids": ids, "length": torch.tensor([6, 2]), "bytes": torch.tensor([6, 2])}
    batch = task.prepare(torch.nn.Identity(), batch)
    found = task.summary(task.judge({"logits": torch.zeros(2, 6, 256)}, batch))
    assert found == pytest.approx({"loss": math.log(256), "perplexity": 256.0, "bits_per_byte": 8.0})
    assert float(next_token(torch.zeros(2, 6, 256), batch["target"]).sum()) == pytest.approx(8 * math.log(256), rel=1e-6)
