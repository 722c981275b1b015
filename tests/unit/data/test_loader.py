"""Batches from data workers: all of them, in order, however late; and what a worker's own error is told as. Real processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest
import torch

from liandan.data.loader import Batch, Loader, LoaderError


class Numbers:
    """Sample i is the number i; at `moment` something happens first."""

    def __init__(self, moment: int = -1, happens: Any = None) -> None:
        self.moment, self.happens = moment, happens

    def __len__(self) -> int:
        return 12

    def sample(self, index: int, key: int | None) -> dict[str, Any]:
        if index == self.moment:
            self.happens()
        return {"number": index}

    def name(self, index: int) -> str:
        return f"number {index}"

    def collate(self, samples: list[dict[str, Any]]) -> Batch:
        return {"number": torch.tensor([sample["number"] for sample in samples])}


def numbers(loader: Loader) -> list[int]:
    return [int(n) for batch in loader.evaluation(2) for n in batch["number"]]


def fail() -> None:
    raise RuntimeError("the share has timed out")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_batch_that_is_late_but_in_time_is_waited_for() -> None:
    """Longer than one look at the workers takes: asked again, torch must lose no batch and keep the order."""
    assert numbers(Loader(Numbers(5, lambda: time.sleep(2.5)), 0, workers=2)) == list(range(12))


def test_an_error_of_a_worker_that_speaks_of_time_is_not_taken_for_patience() -> None:
    """Asked again after it, torch would give the batch behind it: samples would be left out without a word."""
    with pytest.raises(LoaderError, match=r"RuntimeError: the share has timed out, while .* awaited: number 4, number 5"):
        numbers(Loader(Numbers(5, fail), 0, workers=2))


@pytest.mark.parametrize("main", [True, False])
def test_a_dead_worker_is_found_soon_also_where_there_are_no_signals(main: bool) -> None:
    found: list[Exception] = []

    def ask() -> None:
        try:
            numbers(Loader(Numbers(5, die), 0, workers=2, timeout=3600))
        except LoaderError as error:
            found.append(error)

    thread = threading.Thread(target=ask)
    _ = ask() if main else (thread.start(), thread.join(300))
    assert found and "was killed" in str(found[0]) and "awaited: number" in str(found[0])


def test_the_programs_own_handler_of_dead_children_stays() -> None:
    former = signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        ours = signal.getsignal(signal.SIGCHLD)
        assert numbers(Loader(Numbers(), 0, workers=1)) == list(range(12)) and signal.getsignal(signal.SIGCHLD) is ours
    finally:
        signal.signal(signal.SIGCHLD, former)
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
