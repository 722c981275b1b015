"""Sampling in the keyed order: every class equally often, or rare ones repeated; entered anywhere it is the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liandan.data.errors import DataError
from liandan.data.order import Order
from liandan.data.sampling import SAMPLINGS, Balanced, Repeat, Sampling

RARE = np.repeat([0, 1, 2, 4], [60, 25, 4, 1])  # class 3 has none


def epoch(sampling: Sampling, number: int, batch_size: int = 7) -> np.ndarray:
    order = Order(sampling.length, batch_size, seed=5, sampling=sampling)
    first = number * order.steps_per_epoch
    return np.concatenate([indices for indices, _ in order.steps(first, first + order.steps_per_epoch)])


def test_balanced_has_every_class_equally_often_over_any_number_of_epochs() -> None:
    sampling, seen = Balanced(RARE, 5), np.zeros(5, dtype=np.int64)
    for number in range(5):
        found = epoch(sampling, number)
        assert len(found) == len(RARE)
        counts = np.bincount(RARE[found], minlength=5)
        assert counts[3] == 0 and np.ptp(counts[[0, 1, 2, 4]]) <= 1
        seen += counts
        assert np.ptp(seen[[0, 1, 2, 4]]) <= 1


def test_within_a_class_the_samples_come_in_turn() -> None:
    """No sample a second time before each of its class has come as often, whatever the epochs' bounds."""
    sampling = Balanced(RARE, 5)
    slots = np.arange(sampling.length)
    walked = np.concatenate([sampling.indices(slots, number) for number in range(6)])
    for kind in (0, 1, 2, 4):
        counts = np.bincount(walked[RARE[walked] == kind], minlength=len(RARE))[kind == RARE]
        assert np.ptp(counts) <= 1 and counts.sum() > 0
    first, second = (walked[RARE[walked] == 2][at : at + 4] for at in (0, 4))
    assert sorted(first) == sorted(second) and not np.array_equal(first, second)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 1.0])
def test_repeat_is_the_formula_of_lvis(threshold: float) -> None:
    sampling = Repeat(RARE, 0, threshold=threshold)
    counts = np.bincount(epoch(sampling, 1), minlength=len(RARE))
    for i, kind in enumerate(RARE):
        frequency = np.count_nonzero(kind == RARE) / len(RARE)
        assert counts[i] == math.ceil(max(1.0, math.sqrt(threshold / frequency)))
    assert sampling.length == counts.sum()


def test_repeat_takes_a_sample_of_several_classes_by_its_rarest() -> None:
    targets = [[0], [0, 1], [0], [0, 2], [0, 2], [], [0], [0]]
    # classes 0, 1, 2 have 7/8, 1/8, 2/8 of the samples
    expected = [1, math.ceil(math.sqrt(4)), 1, math.ceil(math.sqrt(2)), math.ceil(math.sqrt(2)), 1, 1, 1]
    sampling = Repeat(targets, 0, threshold=0.5)
    counts = np.bincount(sampling.indices(np.arange(sampling.length), 0), minlength=8)
    assert counts.tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([Balanced(RARE, 1), Repeat(RARE, 1, threshold=0.3)]), st.integers(1, 40), st.integers(0, 60), st.integers(0, 20))
def test_entered_anywhere_it_is_the_same(sampling: Sampling, batch_size: int, start: int, count: int) -> None:
    order = Order(sampling.length, batch_size, 1, sampling)
    whole = list(order.steps(0, start + count))[start:]
    part = list(order.steps(start, start + count))
    for (a, keys), (b, others) in zip(whole, part, strict=True):
        assert np.array_equal(a, b) and np.array_equal(keys, others)


@pytest.mark.parametrize("sampling", [Balanced(RARE, 1), Repeat(RARE, 1, threshold=0.3)])
def test_a_sample_that_comes_twice_has_two_keys(sampling: Sampling) -> None:
    order = Order(sampling.length, 16, 1, sampling)
    steps = list(order.steps(0, order.steps_per_epoch))
    indices, keys = (np.concatenate(column) for column in zip(*steps, strict=True))
    assert len(set(indices.tolist())) < len(indices) == len(set(keys.tolist()))


def test_a_million_samples_cost_a_table_and_no_more() -> None:
    targets = np.arange(10**6) % 1000
    for sampling in (Balanced(targets, 0), Repeat(targets, 0, threshold=0.01)):
        found = sampling.indices(np.arange(500_000, 500_064), 3)
        assert len(found) == 64 and found.max() < 10**6


def test_what_cannot_be_sampled_is_said() -> None:
    with pytest.raises(DataError, match="one class each"):
        Balanced([[0], [0, 1]], 0)
    for threshold in (0, 2, "much"):
        with pytest.raises(ValueError, match="threshold"):
            Repeat(RARE, 0, threshold=threshold)  # pyright: ignore[reportArgumentType]
    assert set(SAMPLINGS) == {"balanced", "repeat"}
