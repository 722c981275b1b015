"""Images that are files of their own: what the folder readers return."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liandan.data.errors import Unreadable
from liandan.data.files import Found, hidden, shown
from liandan.data.fingerprint import digest
from liandan.data.images import SUFFIXES, decode, probe
from liandan.data.protocols import Labels, Target


def is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def usable(found: Found) -> bool:
    """Whether a file is meant as an image: by its suffix, and with no hidden folder on the way."""
    return is_image(found.relative) and not any(hidden(part) for part in found.relative.split(os.sep))


@dataclass(frozen=True)
class ImageFiles:
    """A list of image files, with classes or without; protocols.ImageSource says of what kinds.

    Attributes:
        path: the folder.
        files: paths below it, as the file system spells them.
        sizes: int64 (N,) bytes.
        targets: int64 (N,) indices into `labels`; with heads int64 (N, heads); with `multi_label` uint8 (N, classes); or None.
        labels: class names, or {head: class names}, or None.
        ignored: files under the folder that are hidden or no images.
        empty: class folders without an image.
    """

    path: Path
    format: str
    files: list[str]
    sizes: np.ndarray
    targets: np.ndarray | None = None
    labels: Labels | None = None
    ignored: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    multi_label: bool = False

    size = None  # of the images: not known without opening them all

    def __len__(self) -> int:
        return len(self.files)

    def __repr__(self) -> str:
        return f"ImageFiles({self.path}, {len(self)} images, {len(self.labels or ())} classes)"

    def file(self, i: int) -> Path:
        return self.path / self.files[i]

    def image(self, i: int, channels: int = 3, at_least: int | None = None) -> torch.Tensor:
        """uint8 (channels, height, width); raises Unreadable."""
        return decode(self.file(i), channels, at_least)

    def target(self, i: int) -> Target | None:
        if self.targets is None:
            return None
        if self.multi_label:
            return np.flatnonzero(self.targets[i]).tolist()
        if isinstance(self.labels, dict):
            return dict(zip(self.labels, self.targets[i].tolist(), strict=True))
        return int(self.targets[i])

    def name(self, i: int) -> str:
        return shown(self.files[i])

    def grey(self, sample: int = 64) -> bool:
        """Whether up to `sample` images, spread evenly over the list, all have no color, judged by their headers."""
        grey = 0
        for i in np.unique(np.linspace(0, len(self) - 1, min(sample, len(self)), dtype=np.int64)):
            try:
                mode = probe(self.file(int(i))).mode
            except Unreadable:
                continue
            if mode not in ("1", "L", "LA", "La", "F") and not mode.startswith("I"):
                return False
            grey += 1
        return grey > 0

    def subset(self, indices: np.ndarray) -> ImageFiles:
        """These samples, in this order; the labels stay all of them."""
        at = np.asarray(indices, dtype=np.int64)
        targets = None if self.targets is None else self.targets[at]
        return replace(self, files=[self.files[i] for i in at], sizes=self.sizes[at], targets=targets)

    def _names(self) -> list[list[str]]:
        return [[head, *names] for head, names in self.labels.items()] if isinstance(self.labels, dict) else [self.labels or []]

    def manifest(self) -> list[list[Any]]:
        return sorted([self.name(i), int(self.sizes[i])] for i in range(len(self)))

    def fingerprint(self) -> dict[str, Any]:
        return {
            "format": self.format,
            "count": len(self),
            "bytes": int(self.sizes.sum()),
            "files": digest(self.manifest()),
            "labels": None if self.labels is None else digest(self._names()),
        }
