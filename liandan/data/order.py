"""The order of samples: a function of (seed, epoch, position), never a list.

Step `s` of a run holds the same samples in the same order whatever the number of processes, of data workers, and wherever
the run was resumed; opening a data set of 10^9 samples costs what opening ten does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from liandan.randomness import mix, mix_each, permute

_ORDER, _SAMPLE, _MICRO, _EVALUATION = 1, 2, 3, 4  # which use a key is for: no two uses share one


@dataclass(frozen=True)
class Order:
    """The training order of `n` samples in batches of `batch_size`; the last batch of an epoch may be smaller, never dropped.

    Attributes:
        n: samples in an epoch.
        batch_size: samples a step, over all processes.
        seed: of the run.
    """

    n: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if self.n < 1 or self.batch_size < 1:
            raise ValueError(
                f"expected at least one sample and a batch size of at least 1, got {self.n} samples, batch size {self.batch_size}"
            )

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.n // self.batch_size)

    def step(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Sample indices int64 (b,) and their keys int64 (b,) of a step; key = f(seed, epoch, index)."""
        epoch, slot = divmod(step, self.steps_per_epoch)
        positions = np.arange(slot * self.batch_size, min(self.n, (slot + 1) * self.batch_size))
        indices = permute(positions, self.n, mix(self.seed, _ORDER, epoch))
        return indices, mix_each(indices, self.seed, _SAMPLE, epoch)

    def micro_batches(self, step: int, size: int) -> list[tuple[np.ndarray, np.ndarray, int]]:
        """The micro-batches of a step: (indices, keys, key of the micro-batch's dropout = f(seed, step, number))."""
        indices, keys = self.step(step)
        starts = range(0, len(indices), size)
        return [(indices[at : at + size], keys[at : at + size], rng) for at, rng in zip(starts, self.dropout_keys(step, size), strict=True)]

    def dropout_keys(self, step: int, size: int) -> list[int]:
        """The last of each of `micro_batches`, without the work of finding the samples."""
        slot = step % self.steps_per_epoch
        samples = min(self.n, (slot + 1) * self.batch_size) - slot * self.batch_size
        return [mix(self.seed, _MICRO, step, k) for k in range(-(-samples // size))]


def evaluation_batches(n: int, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices and keys of this process's evaluation batches: every sample once, in order, the last batch partial."""
    starts = range(0, n, batch_size)
    spans = [np.arange(at, min(n, at + batch_size)) for at in starts][rank::world]
    return [(span, mix_each(span, seed, _EVALUATION)) for span in spans]
