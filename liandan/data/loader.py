"""From an order of indices to batches on their way to the model: in this process, or in workers, the same either way."""

from __future__ import annotations

import contextlib
import multiprocessing.connection
import re
import signal
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from liandan import memory
from liandan.data.images import Unreadable
from liandan.data.order import Order, evaluation_batches
from liandan.data.sampling import Sampling
from liandan.randomness import mix

Batch = dict[str, Any]
_TIMED_OUT = "DataLoader timed out"  # how torch begins; an error of a worker's own begins otherwise
_LOOK = 1.0  # seconds after which workers that gave nothing are looked at
_RETRIES = 100  # readable samples tried in the place of an unreadable one


class Samples(Protocol):
    """A split: what `sample` gives is a function of its arguments alone. Key None is evaluation: no noise."""

    def __len__(self) -> int: ...
    def sample(self, index: int, key: int | None) -> dict[str, Any]: ...
    def name(self, index: int) -> str: ...
    def collate(self, samples: list[dict[str, Any]]) -> Batch: ...


class LoaderError(RuntimeError):
    """A batch could not be made: too many unreadable samples, or a data worker that died, hung or raised."""


class _Fetch(Dataset):
    """(indices, keys) -> batch with `index` and `key`; what runs inside a data worker."""

    def __init__(self, samples: Samples, training: bool, policy: str) -> None:
        self.samples, self.training, self.policy = samples, training, policy

    def __getitem__(self, request: tuple[np.ndarray, np.ndarray]) -> Batch:
        indices, keys = request
        fast = getattr(self.samples, "batch", None)
        if fast is not None and getattr(self.samples, "resident", False):
            return {**fast(indices, keys if self.training else None), "index": torch.from_numpy(indices), "key": torch.from_numpy(keys)}
        found, unreadable = [], []
        for index, key in zip(indices.tolist(), keys.tolist(), strict=True):
            try:
                found.append((self.samples.sample(index, key if self.training else None), index, key))
            except Unreadable as error:
                if self.policy == "raise":
                    raise LoaderError(f"{error}; mend or remove it, or leave such samples out with data.unreadable=skip") from error
                unreadable.append(index)
                if self.training:
                    found.append(self._replacement(index, key))
        batch = self.samples.collate([sample for sample, _, _ in found]) if found else {}
        batch["index"] = torch.tensor([index for _, index, _ in found], dtype=torch.int64)
        batch["key"] = torch.tensor([key for _, _, key in found], dtype=torch.int64)
        if unreadable:
            batch["unreadable"] = unreadable
        return batch

    def _replacement(self, index: int, key: int) -> tuple[dict[str, Any], int, int]:
        """Another sample in an unreadable one's place, a function of the key alone; in evaluation it is left out instead."""
        for attempt in range(_RETRIES):
            other = mix(key, attempt) % len(self.samples)
            try:
                return self.samples.sample(other, mix(key, attempt, 1)), other, mix(key, attempt, 1)
            except Unreadable:
                continue
        raise LoaderError(
            f"no readable sample found in the place of {self.samples.name(index)} after {_RETRIES} tries; run `liandan data check`"
        )


class Loader:
    """The batches of one split for one process of `world`.

    Args:
        samples: the split.
        seed: of the run.
        workers: data worker processes; 0 loads in this process, and resident data always does.
        timeout: seconds to wait for a worker before it is called hung.
        unreadable: "skip" (another sample takes its place; in evaluation it is left out) or "raise".
        max_unreadable: fraction of the split above which "skip" gives up.
        sampling: how often each sample comes in an epoch of training; None: once.
    """

    def __init__(
        self,
        samples: Samples,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        timeout: float = 120.0,
        unreadable: str = "skip",
        max_unreadable: float = 0.01,
        sampling: Sampling | None = None,
    ) -> None:
        self.samples, self.seed, self.rank, self.world = samples, seed, rank, world
        self.workers, self.timeout, self.policy, self.max_unreadable = workers, timeout, unreadable, max_unreadable
        self.sampling = sampling
        self.unreadable: set[int] = set()

    @property
    def epoch(self) -> int:
        """Samples in an epoch of training."""
        return len(self.samples) if self.sampling is None else self.sampling.length

    def training(self, batch_size: int, micro_batch_size: int, start: int, stop: int) -> Iterator[list[Batch]]:
        """For each step in range(start, stop), this process's micro-batches: micro-batch k belongs to process k mod world.

        Every batch carries `index` and `key` int64 (b,), and `rng`, the key of its dropout.
        """
        order = Order(self.epoch, batch_size, self.seed, self.sampling)
        mine = slice(self.rank, None, self.world)

        def requests() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for indices, keys in order.steps(start, stop):
                for at in range(0, len(indices), micro_batch_size)[mine]:
                    yield indices[at : at + micro_batch_size], keys[at : at + micro_batch_size]

        batches = self._fetch(requests(), training=True)
        for step in range(start, stop):
            yield [{**next(batches), "rng": rng} for rng in order.dropout_keys(step, micro_batch_size)[mine]]

    def evaluation(self, batch_size: int) -> Iterator[Batch]:
        """This process's share of the split, in order, without noise; unreadable samples are left out and counted."""
        requests = evaluation_batches(len(self.samples), batch_size, self.seed, self.rank, self.world)
        return (batch for batch in self._fetch(requests, training=False) if len(batch["index"]))

    def _fetch(self, requests: Iterable[tuple[np.ndarray, np.ndarray]], training: bool) -> Iterator[Batch]:
        fetch = _Fetch(self.samples, training, self.policy)
        if self.workers == 0 or getattr(self.samples, "resident", False):
            for request in requests:
                yield self._noted(fetch[request])
            return
        awaited: list[tuple[np.ndarray, np.ndarray]] = []

        def remembered() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for request in requests:
                awaited.append(request)
                yield request

        with _own_sigchld(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="This DataLoader will create")  # more workers than cores: as the recipe says
            # batch_size=None: the sampler's item is the request for one whole batch
            loader = DataLoader(
                fetch, batch_size=None, sampler=remembered(), num_workers=self.workers, timeout=min(_LOOK, self.timeout),
                worker_init_fn=_quiet_worker, persistent_workers=False, prefetch_factor=2,
            )  # fmt: skip
            batches = iter(loader)
        while True:
            try:
                batch = self._awaited(batches)
            except LoaderError as error:  # of a worker, with the worker's traceback before it
                raise LoaderError(str(error).strip().splitlines()[-1].partition(": ")[2]) from None
            except Exception as error:
                dead = _end(list(getattr(batches, "_workers", ())))
                raise self._worker_failed(error, dead, awaited[0][0] if awaited else np.array([], dtype=np.int64)) from error
            if batch is None:
                return
            awaited.pop(0)
            yield self._noted(batch)

    def _awaited(self, batches: Iterator[Batch]) -> Batch | None:
        """The next batch, None at the end. Torch gives up after each look, having seen whether a worker is dead, and can be asked again."""
        until = time.monotonic() + self.timeout
        while True:
            try:
                with _alarm(until - time.monotonic() + _LOOK):
                    return next(batches, None)
            except RuntimeError as error:
                if not str(error).startswith(_TIMED_OUT) or time.monotonic() >= until:
                    raise

    def _noted(self, batch: Batch) -> Batch:
        self.unreadable.update(batch.pop("unreadable", ()))
        if len(self.unreadable) > max(self.max_unreadable * len(self.samples), 1):
            names = ", ".join(self.samples.name(i) for i in sorted(self.unreadable)[:5])
            raise LoaderError(
                f"{len(self.unreadable)} of {len(self.samples)} samples cannot be read, more than data.max_unreadable = "
                f"{self.max_unreadable:g} allows: {names} ...; run `liandan data check` for the whole list"
            )
        return batch

    def _worker_failed(self, error: Exception, dead: list[int], indices: np.ndarray) -> LoaderError:
        names = ", ".join(self.samples.name(int(i)) for i in indices[:4]) + (" ..." if len(indices) > 4 else "")
        text = str(error)
        # torch may know of a death before the process can be asked for its exit code
        told = re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed|exited)", text)
        pids = ", ".join(map(str, dead)) or (told[1] if told else "")
        if pids:
            what = f"data worker (pid {pids}) was killed"
            todo = "if memory ran out, lower data.workers; then resume"
        elif isinstance(error, _Late) or text.startswith(_TIMED_OUT):
            what = f"a data worker gave no batch for {self.timeout:g} s"
            todo = "look at these files' disk, or raise data.worker_timeout; then resume"
        else:
            what = f"a data worker raised {type(error).__name__}: {text.strip().splitlines()[-1] if text.strip() else ''}"
            todo = "run `liandan data check`; with data.workers=0 the error shows where it happens"
        return LoaderError(f"{what}, while the batch of these samples was awaited: {names}; {todo}")


class _Late(Exception):
    """No batch came in time."""


@contextlib.contextmanager
def _own_sigchld() -> Iterator[None]:
    """Keeps the program's own handler of dead children: torch's raises wherever the main thread is, in the middle of a checkpoint too."""
    former = signal.getsignal(signal.SIGCHLD) if _may_signal("SIGCHLD") else None
    yield
    if former is not None:
        signal.signal(signal.SIGCHLD, former)


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raises _Late after so long, where signals can do that: torch's own timeout does not cover the moment in which a batch's memory is
    asked of a worker that stands still. There is one such timer; whoever has set it keeps it."""
    if not _may_signal("SIGALRM") or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return
    former = signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def _late(number: int, frame: FrameType | None) -> None:
    raise _Late


def _may_signal(name: str) -> bool:
    return hasattr(signal, name) and threading.current_thread() is threading.main_thread()


def _end(workers: list[Any]) -> list[int]:
    """End the workers; the pids of those that were dead already. One that hangs hears nothing kinder, and the program would wait for it."""
    multiprocessing.connection.wait([w.sentinel for w in workers], timeout=0.5)  # a pipe breaks a moment before its process is gone
    dead = [w.pid for w in workers if w.exitcode]
    for worker in workers:
        worker.kill()
    return dead


def _quiet_worker(_: int) -> None:
    """One thread a worker; interrupts are the training process's business (it stops at a step boundary)."""
    torch.set_num_threads(1)
    memory.return_freed()  # a batch is freed as soon as it is sent, and in the heap the gaps would add up to 100 MB a worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
