"""Folds: every sample in exactly one, classes dealt evenly, the same on every machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from liandan.data.errors import DataError
from liandan.data.folds import fold
from liandan.data.readers import read


class Listed:
    """A source by its names and targets alone."""

    path = "listed"

    def __init__(self, names: list[str], targets: list[Any]) -> None:
        self.names, self.targets = names, targets

    def __len__(self) -> int:
        return len(self.names)

    def name(self, i: int) -> str:
        return self.names[i]

    def target(self, i: int) -> Any:
        return self.targets[i]

    def subset(self, indices: np.ndarray) -> Listed:
        return Listed([self.names[i] for i in indices], [self.targets[i] for i in indices])


def source(counts: list[int]) -> Listed:
    rows = [(f"类{label}/{i}.png", label) for label, count in enumerate(counts) for i in range(count)]
    return Listed([name for name, _ in rows], [label for _, label in rows])


@pytest.mark.parametrize("counts", [[10, 10], [7, 5, 3], [1, 1, 40], [100, 2, 31, 8]])
@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_are_as_even_as_scikit_learns(counts: list[int], folds: int) -> None:
    whole = source(counts)
    parts = [fold(whole, number, folds) for number in range(1, folds + 1)]
    assert sorted(name for _, val, _ in parts for name in val.names) == sorted(whole.names)
    for train, val, names in parts:
        assert names == val.names and sorted(train.names + val.names) == sorted(whole.names)
    ours = np.array([np.bincount(val.targets, minlength=len(counts)) for _, val, _ in parts])
    assert (ours.max(0) - ours.min(0) <= 1).all() and np.ptp(ours.sum(1)) <= 1
    if min(counts) >= folds:  # what scikit-learn asks for
        split = StratifiedKFold(folds).split(np.zeros(len(whole)), whole.targets)
        theirs = np.array([np.bincount(np.array(whole.targets)[val], minlength=len(counts)) for _, val in split])
        assert sorted(map(sorted, ours.T.tolist())) == sorted(map(sorted, theirs.T.tolist()))


def test_names_and_seed_decide_not_the_order_of_the_files() -> None:
    whole = source([20, 20])
    back = Listed(whole.names[::-1], whole.targets[::-1])
    for number in (1, 2, 3):
        assert set(fold(whole, number, 3)[2]) == set(fold(back, number, 3)[2])
    assert fold(whole, 1, 3, seed=1)[2] != fold(whole, 1, 3, seed=0)[2]


def test_without_classes_folds_are_even_all_the_same() -> None:
    sizes = [len(fold(source([30, 1]), number, 4, stratify=False)[1]) for number in range(1, 5)]
    assert sorted(sizes) == [7, 8, 8, 8]


def test_what_cannot_be_divided_is_told(tmp_path: Any) -> None:
    with pytest.raises(DataError, match="3 samples cannot be divided into 5 folds"):
        fold(source([3]), 1, 5)
    (tmp_path / "a.txt").write_text("one line\nanother\n")
    with pytest.raises(DataError, match="independent samples"):
        fold(read(tmp_path / "a.txt"), 1, 2)
