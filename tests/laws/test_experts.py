"""Law 1 for a mixture of experts, whose balance loss and room belong to a sequence: a batch may be split in any way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journeys import movement, rows, weights
from tests.laws.test_law1_splitting import ROUNDING, run, start_of
from tests.zygote import Zygote

MIXTURE = [
    "model={name: liandan/gpt, n_layer: 2, n_head: 2, width: 32, hidden: 32, dropout: 0, experts: 4, expert_capacity: 0.8, balance: 0.1}",
    "data.text.context=16",
]
QUIET = [*MIXTURE, "model.router_noise=false"]


def test_micro_batches_and_processes_change_rounding_only(zygote: Zygote, tmp_path: Path) -> None:
    whole = run(zygote, "language_model", tmp_path, "whole", *QUIET, "train.micro_batch_size=12")
    assert all("train/balance" in row for row in rows(whole) if "train/loss" in row)
    for name, size, processes in (("by5", 5, 1), ("by5on2", 5, 2)):
        divided = run(zygote, "language_model", tmp_path, name, *QUIET, f"train.micro_batch_size={size}", processes=processes)
        gap = movement(weights(whole), weights(divided), start_of(tmp_path, "whole"))
        assert gap <= ROUNDING, f"{name}: weights differ by {gap:.1e} of their movement"
        for a, b in zip(rows(whole), rows(divided), strict=True):
            for key in a:
                assert a[key] == pytest.approx(b[key], rel=1e-9), (name, key)


def test_with_noise_the_processes_change_rounding_only(zygote: Zygote, tmp_path: Path) -> None:
    one = run(zygote, "language_model", tmp_path, "one", *MIXTURE, "train.micro_batch_size=5")
    two = run(zygote, "language_model", tmp_path, "two", *MIXTURE, "train.micro_batch_size=5", processes=2)
    assert movement(weights(one), weights(two), start_of(tmp_path, "one")) <= ROUNDING


def test_a_balance_over_the_batch_is_caught(zygote: Zygote, tmp_path: Path) -> None:
    whole = run(zygote, "language_model", tmp_path, "whole", *QUIET, "train.micro_batch_size=12", mutant="balance_of_the_batch")
    divided = run(zygote, "language_model", tmp_path, "by5", *QUIET, "train.micro_batch_size=5", mutant="balance_of_the_batch")
    assert movement(weights(whole), weights(divided), start_of(tmp_path, "whole")) > 1e-6
