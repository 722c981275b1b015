"""The order of samples: a function of (seed, epoch, position), never a list.

Step `s` of a run holds the same samples in the same order whatever the number of processes, of data workers, and wherever
the run was resumed; opening a data set of 10^9 samples costs what opening ten does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from liandan.data.sampling import Sampling
from liandan.randomness import mix, mix_each, permute

_ORDER, _SAMPLE, _MICRO, _EVALUATION = 1, 2, 3, 4  # which use a key is for: no two uses share one
_TOGETHER = 4096  # positions worked out in one go: numpy's calls cost the same for twelve


@dataclass(frozen=True)
class Order:
    """The training order of `n` samples in batches of `batch_size`; the last batch of an epoch may be smaller, never dropped.

    Attributes:
        n: samples in an epoch: all there are, or the length of the sampling.
        batch_size: samples a step, over all processes.
        seed: of the run.
        sampling: which sample each of the `n` slots is; None: each once.
    """

    n: int
    batch_size: int
    seed: int
    sampling: Sampling | None = None

    def __post_init__(self) -> None:
        if self.n < 1 or self.batch_size < 1:
            raise ValueError(
                f"expected at least one sample and a batch size of at least 1, got {self.n} samples, batch size {self.batch_size}"
            )

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.n // self.batch_size)

    def steps(self, start: int, stop: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Sample indices int64 (b,) and their keys int64 (b,) of each step in range(start, stop); key = f(seed, epoch, index).

        With a sampling the key is f(seed, epoch, slot): a sample that comes twice in an epoch has two. Small steps are worked out several
        at a time.
        """
        together = max(1, _TOGETHER // self.batch_size)
        while start < stop:
            epoch, slot = divmod(start, self.steps_per_epoch)
            count = min(together, stop - start, self.steps_per_epoch - slot)
            positions = np.arange(slot * self.batch_size, min(self.n, (slot + count) * self.batch_size))
            slots = permute(positions, self.n, mix(self.seed, _ORDER, epoch))
            keys = mix_each(slots, self.seed, _SAMPLE, epoch)
            indices = slots if self.sampling is None else self.sampling.indices(slots, epoch)
            for at in range(0, len(indices), self.batch_size):
                yield indices[at : at + self.batch_size], keys[at : at + self.batch_size]
            start += count

    def dropout_keys(self, step: int, size: int) -> list[int]:
        """A key for each micro-batch of at most `size` samples of a step: f(seed, step, number of the micro-batch)."""
        slot = step % self.steps_per_epoch
        samples = min(self.n, (slot + 1) * self.batch_size) - slot * self.batch_size
        return [mix(self.seed, _MICRO, step, k) for k in range(-(-samples // size))]


def evaluation_batches(n: int, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices and keys of this process's evaluation batches: every sample once, in order, the last batch partial."""
    starts = range(0, n, batch_size)
    spans = [np.arange(at, min(n, at + batch_size)) for at in starts][rank::world]
    return [(span, mix_each(span, seed, _EVALUATION)) for span in spans]
