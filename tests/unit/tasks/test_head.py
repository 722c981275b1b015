"""The head's loss in parts: torch's own cross entropy, values and gradients, whatever the number of positions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from liandan.tasks.head import _POSITIONS, summed_loss


@pytest.mark.parametrize("positions", [0, 1, _POSITIONS - 1, _POSITIONS, 2 * _POSITIONS + 5])
@pytest.mark.parametrize("frozen", [False, True])
def test_it_is_torchs_cross_entropy(positions: int, frozen: bool) -> None:
    torch.manual_seed(0)
    head = nn.Linear(12, 30, dtype=torch.float64).requires_grad_(not frozen)
    hidden = torch.randn(positions, 12, dtype=torch.float64, requires_grad=True)
    target, weights = torch.randint(0, 30, (positions,)), torch.rand(positions, dtype=torch.float64)
    leaves = [hidden, *([] if frozen else head.parameters())]

    total, right = summed_loss(head, list(head.parameters()), hidden, target, weights)
    ours = torch.autograd.grad(total / 7, leaves)
    logits = head(hidden)
    plain = (F.cross_entropy(logits, target, reduction="none") * weights).sum()
    theirs = torch.autograd.grad(plain / 7, leaves)

    assert total.item() == pytest.approx(plain.item(), rel=1e-12) and int(right) == int((logits.argmax(-1) == target).sum())
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_hidden_states_that_need_no_gradient_get_none() -> None:
    head = nn.Linear(4, 5)
    total, _ = summed_loss(head, list(head.parameters()), torch.randn(3, 4), torch.tensor([0, 1, 2]), torch.ones(3))
    total.backward()
    assert head.weight.grad is not None and float(head.weight.grad.abs().sum()) > 0
    with torch.no_grad():
        assert not summed_loss(head, list(head.parameters()), torch.randn(3, 4), torch.tensor([0, 1, 2]), torch.ones(3))[0].requires_grad
