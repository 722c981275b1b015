"""How often each sample comes in an epoch, where that is not once.

A sampling maps the slots of an epoch, range(length), to samples. The order permutes slots, and a sample's noise has its slot's key, so
that a sample that comes twice is augmented in two ways. Nothing is remembered: a slot's sample is a function of (seed, epoch, slot).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from liandan.data.errors import DataError
from liandan.randomness import mix, permute

Targets = np.ndarray | Sequence[int] | Sequence[Sequence[int]]  # a class, or classes, for each sample

_BALANCED = 8  # which use a key is for


class Sampling(Protocol):
    """length: slots in an epoch."""

    length: int

    def indices(self, slots: np.ndarray, epoch: int) -> np.ndarray:
        """The sample of each slot: int64 (k,) in range(length) -> int64 (k,)."""
        ...


class Balanced:
    """Every class equally often, in an epoch of as many samples as there are; within a class its samples come in turn, over all epochs.

    Args:
        targets: one class a sample, int (n,).
        seed: of the run.
    """

    def __init__(self, targets: Targets, seed: int) -> None:
        if len(targets) and not np.isscalar(targets[0]):
            raise DataError("data.sampling: balanced needs samples of one class each; for several use {name: repeat, threshold: 0.1}")
        self.members = np.argsort(np.asarray(targets), kind="stable")
        _, self.starts, self.counts = np.unique(np.asarray(targets)[self.members], return_index=True, return_counts=True)
        self.length, self.seed = len(targets), seed

    def indices(self, slots: np.ndarray, epoch: int) -> np.ndarray:
        # the count goes on from epoch to epoch, so that no class is favored by an epoch's length
        turn, kind = np.divmod(epoch * self.length + np.asarray(slots, dtype=np.int64), len(self.counts))
        cycle, within = np.divmod(turn, self.counts[kind])
        out = np.empty(len(kind), dtype=np.int64)
        for c, k in {*zip(kind.tolist(), cycle.tolist(), strict=True)}:
            at = np.flatnonzero((kind == c) & (cycle == k))
            order = permute(within[at], int(self.counts[c]), mix(self.seed, _BALANCED, c, k))
            out[at] = self.members[self.starts[c] + order]
        return out


class Repeat:
    """Samples of rare classes several times an epoch.

    A class that the part f of the samples has is repeated max(1, sqrt(threshold / f)) times, a sample as its rarest class, rounded up
    (Gupta, Dollar, Girshick, "LVIS", 2019, appendix; the rounding of mmdetection's ClassBalancedDataset).

    Args:
        targets: a class, or several, for each of the samples.
        seed: not used; every sample comes equally often in each epoch.
        threshold: part of the samples (0 to 1) below which a class is repeated.
    """

    def __init__(self, targets: Targets, seed: int, *, threshold: float) -> None:
        if not isinstance(threshold, int | float) or not 0 < threshold <= 1:
            raise ValueError(f"threshold: expected a part of the samples above 0 and up to 1, got {threshold!r}")
        if isinstance(targets, np.ndarray):
            classes, owner = targets, np.arange(len(targets))
        else:
            each = [np.unique(target) for target in targets]
            classes = np.concatenate(each).astype(np.int64)
            owner = np.repeat(np.arange(len(each)), [len(of_one) for of_one in each])
        counts = np.bincount(classes)
        repeats = np.ones(len(targets))
        np.maximum.at(repeats, owner, np.sqrt(threshold * len(targets) / counts[classes]))
        repeats = np.ceil(repeats).astype(np.int64)
        self.ends = np.cumsum(repeats)
        self.length = int(self.ends[-1])

    def indices(self, slots: np.ndarray, epoch: int) -> np.ndarray:
        return np.searchsorted(self.ends, slots, side="right")


SAMPLINGS = {"balanced": Balanced, "repeat": Repeat}
