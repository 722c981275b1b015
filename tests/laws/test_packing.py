"""Packing changes the rows that are computed and nothing that is learned. (The other laws run on packed rows: sft/tiny asks for them.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys import PLAIN, movement, rows, weights
from tests.laws.test_law1_splitting import ROUNDING, run, start_of
from tests.zygote import Zygote


def apart(zygote: Zygote, folder: Path, mutant: str | None = None) -> float:
    """How far a packed run ends from one that is not, as a fraction of its movement."""
    alone = run(zygote, "sft", folder, "alone", *PLAIN["sft"], "data.text.packing=false")
    packed = run(zygote, "sft", folder, "packed", *PLAIN["sft"], mutant=mutant)
    if mutant is None:
        for a, b in zip(rows(alone), rows(packed), strict=True):
            assert a.keys() == b.keys() and all(a[key] == pytest.approx(b[key], rel=1e-9) for key in a)
    return movement(weights(alone), weights(packed), start_of(folder, "alone"))


def test_a_packed_run_learns_what_one_that_is_not_learns(zygote: Zygote, tmp_path: Path) -> None:
    gap = apart(zygote, tmp_path)
    assert gap <= ROUNDING, f"weights differ by {gap:.1e} of their movement"


def test_contamination_is_caught(zygote: Zygote, tmp_path: Path) -> None:
    assert apart(zygote, tmp_path, "texts_see_one_another") > 1e-6
