"""The order of samples: each once an epoch, the same from wherever it is entered, at any size."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liandan.data.order import Order, evaluation_batches
from liandan.randomness import mix, mix_each, permute


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(0, 2**63 - 1))
def test_permute_is_a_bijection(n: int, key: int) -> None:
    assert np.array_equal(np.sort(permute(np.arange(n), n, key)), np.arange(n))


@settings(max_examples=50, deadline=None)
@given(st.integers(1025, 2**62), st.integers(0, 2**63 - 1), st.data())
def test_permute_of_many_is_injective_and_in_range_wherever_it_is_looked_at(n: int, key: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, n - 1))
    at = np.arange(start, min(n, start + 400))
    found = permute(at, n, key)
    assert len(set(found.tolist())) == len(at) and found.min() >= 0 and found.max() < n
    one = data.draw(st.integers(0, len(at) - 1))
    assert permute(at[one : one + 1], n, key)[0] == found[one]


def test_permute_depends_on_its_key_and_has_no_favorites() -> None:
    """Where position 0 goes, over many keys: every place as often as chance has it, on both sides of the small algorithm's bound."""
    for n in (10, 1030):
        places = np.array([permute([0], n, mix(7, key))[0] for key in range(3000)])
        counts = np.bincount(places * 10 // n, minlength=10)
        chi_squared = float(((counts - 300) ** 2 / 300).sum())
        assert chi_squared < 33.7, counts  # nine degrees of freedom: exceeded by one in ten thousand


def test_positions_outside_are_refused() -> None:
    with pytest.raises(ValueError, match=r"range\(10\)"):
        permute([10], 10, 1)


@pytest.mark.parametrize(("n", "batch_size"), [(1, 1), (7, 3), (64, 64), (10, 99), (1000, 7), (1025, 32), (5000, 64)])
def test_each_sample_once_an_epoch_and_another_order_in_the_next(n: int, batch_size: int) -> None:
    order = Order(n, batch_size, seed=3)
    epochs = []
    for epoch in range(3):
        first = epoch * order.steps_per_epoch
        steps = [indices for indices, _ in order.steps(first, first + order.steps_per_epoch)]
        assert [len(step) for step in steps[:-1]] == [batch_size] * (len(steps) - 1)
        epochs.append(np.concatenate(steps))
        assert np.array_equal(np.sort(epochs[-1]), np.arange(n))
    if n > 20:
        assert not np.array_equal(epochs[0], epochs[1]) and not np.array_equal(epochs[1], epochs[2])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 60), st.integers(0, 20))
def test_entered_anywhere_it_is_the_same(n: int, batch_size: int, start: int, count: int) -> None:
    order = Order(n, batch_size, seed=1)
    whole = list(order.steps(0, start + count))[start:]
    part = list(order.steps(start, start + count))
    assert len(whole) == len(part) == count
    for (a, keys), (b, others) in zip(whole, part, strict=True):
        assert np.array_equal(a, b) and np.array_equal(keys, others)


def test_a_key_belongs_to_seed_epoch_and_sample_alone() -> None:
    """Whatever the batch size, sample 5 of epoch 2 has one key; in another epoch, or under another seed, another."""

    def key_of(batch_size: int, seed: int, epoch: int) -> int:
        order = Order(50, batch_size, seed)
        steps = order.steps(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
        return next(int(keys[np.flatnonzero(indices == 5)[0]]) for indices, keys in steps if 5 in indices)

    assert key_of(8, 0, 2) == key_of(13, 0, 2) == key_of(50, 0, 2)
    assert len({key_of(8, 0, 2), key_of(8, 0, 3), key_of(8, 1, 2)}) == 3


def test_a_billion_samples_cost_what_ten_do() -> None:
    order = Order(10**9, 256, seed=0)
    began = time.process_time()
    steps = {step: next(order.steps(step, step + 1))[0] for step in (0, 1, 3_000_000, order.steps_per_epoch - 1, order.steps_per_epoch)}
    assert time.process_time() - began < 20  # no list of a billion was made
    found = np.concatenate(list(steps.values())[:4])  # all of one epoch
    assert len(set(found.tolist())) == len(found) and found.max() < 10**9
    assert len(steps[order.steps_per_epoch - 1]) == 10**9 - (order.steps_per_epoch - 1) * 256


@pytest.mark.parametrize(("n", "batch_size", "world"), [(10, 4, 1), (10, 4, 2), (3, 4, 2), (100, 7, 3)])
def test_evaluation_visits_each_sample_once_over_all_processes(n: int, batch_size: int, world: int) -> None:
    parts = [evaluation_batches(n, batch_size, 0, rank, world) for rank in range(world)]
    assert sorted(int(i) for part in parts for indices, _ in part for i in indices) == list(range(n))
    keys = {int(i): int(k) for part in parts for indices, ks in part for i, k in zip(indices, ks, strict=True)}
    assert [keys[i] for i in range(n)] == [int(k) for _, ks in evaluation_batches(n, n, 0) for k in ks]


def test_dropout_keys_are_one_a_micro_batch_and_never_the_same() -> None:
    order = Order(20, 8, seed=0)
    assert [len(order.dropout_keys(step, 3)) for step in range(3)] == [3, 3, 2]  # 8, 8 and 4 samples
    found = [key for step in range(30) for key in order.dropout_keys(step, 3)]
    assert len(set(found)) == len(found)


def test_mix_each_is_mix() -> None:
    assert mix_each(np.arange(5), 3, 2**62, 7).tolist() == [mix(3, 2**62, 7, i) for i in range(5)]
    assert all(0 <= mix(i, -i) < 2**63 for i in range(100))
