"""The clock of a step's parts: what it adds up, and on a device that works behind its back."""

from __future__ import annotations

import time

import pytest
import torch

from liandan.runtime.device import Clock


def test_parts_add_up_to_the_mean_of_a_step() -> None:
    clock, began = Clock("cpu"), time.perf_counter()
    for _ in clock.waiting(iter(range(4))):
        clock.start()
        for part in ("forward", "backward", "forward", "optimizer"):
            torch.ones(10_000).sum()
            clock.lap(part)
    found, whole = clock.take(), time.perf_counter() - began
    assert list(found) == ["time/data", "time/forward", "time/backward", "time/optimizer"]
    assert all(value > 0 for value in found.values()) and 4 * sum(found.values()) <= whole * 1.01
    assert clock.take() == {}  # nothing was made since


def test_a_device_that_cannot_be_timed_is_not_guessed_at() -> None:
    clock = Clock("mps")
    for _ in clock.waiting(iter(range(2))):
        clock.start()
        clock.lap("forward")
    assert clock.take() == {}


@pytest.mark.gpu
def test_cuda_is_timed_by_its_own_events() -> None:
    """A kernel that runs long after its launch counts as long, not as the moment it took to launch it; what has not ended waits."""
    clock, x = Clock("cuda"), torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    for _ in clock.waiting(iter(range(1))):
        clock.start()
        launched = time.perf_counter()
        for _ in range(50):
            x = x @ x.T / 4096
        clock.lap("forward")
        launched = time.perf_counter() - launched
    torch.cuda.synchronize()
    assert clock.take()["time/forward"] > launched
