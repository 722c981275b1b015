"""Folds for cross-validation: equal parts of the training data, each of which is validation once. By key, and stored as names."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from liandan.data.errors import DataError
from liandan.data.split import MANY_DOCUMENTS
from liandan.data.text import TextSource
from liandan.data.tokens import TokenSource

_FOLDS = "folds"  # sets these ranks apart from those of what is held out


def fold(source: Any, number: int, folds: int, stratify: bool = True, seed: int = 0) -> tuple[Any, Any, list[str]]:
    """Divide a source into a fold and the rest.

    Samples are ranked by a hash of (seed, name) and dealt out like cards, class after class: folds differ by at most one sample in size,
    and by at most one in each class. Where images have several classes, those with the same ones count as a class.

    Args:
        source: what a reader returned.
        number: which fold, from 1 to `folds`.
        stratify: class after class; otherwise all together.
        seed: the run's.

    Returns:
        (training source, validation source, names of the fold's samples).

    Raises:
        DataError: fewer samples than folds, or a text that has no independent parts.
    """
    if isinstance(source, TokenSource) or (isinstance(source, TextSource) and len(source) < MANY_DOCUMENTS):
        raise DataError(f"{source.path}: folds need independent samples, such as images or {MANY_DOCUMENTS} documents between blank lines")
    if len(source) < folds:
        raise DataError(f"{source.path}: {len(source)} samples cannot be divided into {folds} folds")
    prefix = f"{_FOLDS}\0{seed}\0".encode()
    groups: dict[str, list[tuple[bytes, int]]] = {}
    for i in range(len(source)):
        group = str(source.target(i)) if stratify and hasattr(source, "target") else ""
        groups.setdefault(group, []).append((hashlib.sha256(prefix + source.name(i).encode()).digest(), i))
    dealt = [i for _, members in sorted(groups.items()) for _, i in sorted(members)]
    held = np.sort(np.array(dealt[number - 1 :: folds], dtype=np.int64))
    rest = np.setdiff1d(np.arange(len(source)), held)
    return source.subset(rest), source.subset(held), [source.name(int(i)) for i in held]
