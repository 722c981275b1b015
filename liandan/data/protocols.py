"""What a reader returns and what the loader walks. Everything here is a pure function of (index, key)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

Sample = dict[str, Any]  # tensors and ints of one sample
Batch = dict[str, Any]
Labels = list[str] | dict[str, list[str]]  # names of the classes, or of each head's classes
Target = int | list[int] | dict[str, int]  # a class, the classes that are present (multi-label), or a class of each head


class Source(Protocol):
    """Raw data on this machine: what every reader returns, whatever the kind."""

    path: Path
    format: str

    def __len__(self) -> int: ...
    def name(self, i: int) -> str:
        """Relative path with forward slashes ("猫/001.jpg"), or "train/00012" where samples have no file of their own."""
        ...

    def subset(self, indices: np.ndarray) -> Source: ...
    def fingerprint(self) -> dict[str, Any]:
        """JSON-able; two sources with equal fingerprints hold the same samples in the same order."""
        ...

    def manifest(self) -> list[list[Any]] | None:
        """Rows [name, size in bytes] (and sha256 where the content is read anyway), sorted; explains why fingerprints differ."""
        ...


class ImageSource(Source, Protocol):
    """Images, with or without classes.

    | images have               | labels          | targets                                  | target(i)          |
    |---------------------------|-----------------|------------------------------------------|--------------------|
    | no class                  | None            | None                                     | None               |
    | one class each            | [name]          | int64 (N,)                               | 3                  |
    | any number (multi_label)  | [name]          | uint8 (N, classes) of 0 and 1            | [0, 3]             |
    | one class of each head    | {head: [name]}  | int64 (N, heads), in the order of labels | {"color": 3, ...}  |
    """

    labels: Labels | None
    targets: np.ndarray | None
    multi_label: bool
    size: tuple[int, int] | None  # (height, width) when every image is known to have it

    def image(self, i: int, channels: int = 3, at_least: int | None = None) -> torch.Tensor:
        """uint8 (channels, height, width); raises Unreadable. `at_least`: see images.decode."""
        ...

    def target(self, i: int) -> Target | None: ...
    def grey(self, sample: int = 64) -> bool:
        """Whether images, judged by up to `sample` of them, have no color."""
        ...

    def subset(self, indices: np.ndarray) -> ImageSource: ...


class Samples(Protocol):
    """What the loader walks.

    resident: `batch` reads memory, so workers would only add copies (the first visit to each sample may still decode it).
    nbytes: memory the resident form takes, 0 when there is none.
    """

    resident: bool
    nbytes: int

    def __len__(self) -> int: ...
    def sample(self, index: int, key: int | None) -> Sample:
        """One sample; `key` decides all of its noise, None is evaluation. Raises Unreadable."""
        ...

    def name(self, index: int) -> str: ...
    def collate(self, samples: list[Sample]) -> Batch: ...
    def batch(self, indices: np.ndarray, keys: np.ndarray | None) -> Batch:
        """Bit for bit `collate([sample(i, k) ...])`, without Python per sample where `resident` and nothing is random."""
        ...
