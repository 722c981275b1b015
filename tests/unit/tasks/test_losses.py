"""Losses against torch's, torchvision's, timm's and scikit-learn's; sums and counts as the engine divides them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import rel_entr, softmax
from sklearn.utils.class_weight import compute_class_weight
from timm.loss.asymmetric_loss import AsymmetricLossMultiLabel
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from liandan.tasks import losses
from liandan.tasks.image_classification import ImageClassification

CLASSES = 5
LABELS = [str(k) for k in range(CLASSES)]


def logits(n: int = 12, classes: int = CLASSES) -> Tensor:
    return torch.randn(n, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 3


def label(n: int = 12, classes: int = CLASSES) -> Tensor:
    return torch.arange(n) * 7 % classes


def several(n: int = 12) -> Tensor:
    return (torch.rand(n, CLASSES, generator=torch.Generator().manual_seed(5)) < 0.4).double()


class Given(nn.Module):
    """A model whose logits are its parameter, so that a gradient can be compared."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(values.clone())

    def forward(self, image: Tensor) -> Tensor:
        return self.values[image[:, 0, 0, 0].long()]


def batch(at: Tensor, **entries: Tensor) -> dict[str, Any]:
    return {"image": at.double().view(-1, 1, 1, 1), "index": at, "label": label()[at], **{k: v[at] for k, v in entries.items()}}


def learned(loss: dict[str, Any], sizes: list[int], counts: list[int] | None = None, **entries: Tensor) -> tuple[float, Tensor]:
    """The objective and its gradient, the batch cut in parts of these sizes: (sum of SUMs) / (global count)."""
    task = ImageClassification(loss, LABELS, {"class_counts": counts or [1] * CLASSES})
    model = Given(logits())
    parts = [batch(at, **entries) for at in torch.arange(12).split(sizes)]
    count = sum(task.count(part)["loss"] for part in parts)
    total = torch.stack([task.loss(model, part)[0]["loss"] for part in parts]).sum() / count
    total.backward()
    assert model.values.grad is not None
    return float(total.detach()), model.values.grad


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 0.0, 3.0]])
def test_cross_entropy_is_torchs_mean_however_the_batch_is_split(smoothing: float, weights: list[float] | None) -> None:
    given = logits().requires_grad_()
    tensor = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    theirs = F.cross_entropy(given, label(), weight=tensor, label_smoothing=smoothing)
    theirs.backward()
    for sizes in ([12], [5, 5, 2], [1] * 12):
        total, gradient = learned({"name": "cross_entropy", "label_smoothing": smoothing, "class_weights": weights}, sizes)
        assert total == pytest.approx(float(theirs.detach()), rel=1e-12)
        torch.testing.assert_close(gradient, given.grad, rtol=1e-10, atol=1e-14)


def test_class_weights_divide_by_their_sum_and_not_by_the_samples() -> None:
    """Divided by the number of samples the same loss would be another: the two must not be near by chance."""
    weights = [1.0, 2.0, 0.5, 0.0, 3.0]
    total, _ = learned({"name": "cross_entropy", "class_weights": weights}, [12])
    by_samples = float(F.cross_entropy(logits(), label(), weight=torch.tensor(weights, dtype=torch.float64), reduction="sum")) / 12
    assert abs(total - by_samples) > 0.1


def test_balanced_weights_are_scikit_learns() -> None:
    counts = [40, 3, 17, 1, 9]
    task = ImageClassification({"name": "cross_entropy", "class_weights": "balanced"}, LABELS, {"class_counts": counts})
    theirs = compute_class_weight("balanced", classes=np.arange(CLASSES), y=np.repeat(np.arange(CLASSES), counts))
    assert task.class_weights is not None and task.class_weights.tolist() == pytest.approx(theirs.tolist())
    absent = ImageClassification({"name": "cross_entropy", "class_weights": "balanced"}, LABELS, {"class_counts": [4, 0, 4, 0, 0]})
    assert absent.class_weights is not None and absent.class_weights.tolist() == [1.0, 0.0, 1.0, 0.0, 0.0]
    opened = ImageClassification({"name": "cross_entropy", "class_weights": "balanced"}, LABELS, {})  # to judge, not to train
    assert opened.class_weights is None


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.5])
def test_focal_of_two_classes_is_torchvisions_sigmoid_focal_loss(gamma: float) -> None:
    one = logits(12, 1)[:, 0].requires_grad_()
    there = label(12, 2)
    theirs = sigmoid_focal_loss(one, there.double(), alpha=-1, gamma=gamma, reduction="none")
    ours = losses.focal(torch.stack([torch.zeros_like(one), one], 1), there, gamma=gamma)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    (theirs_gradient,) = torch.autograd.grad(theirs.sum(), one)
    (ours_gradient,) = torch.autograd.grad(ours.sum(), one)
    torch.testing.assert_close(ours_gradient, theirs_gradient, rtol=1e-8, atol=1e-10)


def test_focal_without_focus_is_the_weighted_cross_entropy() -> None:
    weights = [1.0, 2.0, 0.5, 0.25, 3.0]
    assert learned({"name": "focal", "gamma": 0.0, "class_weights": weights}, [12])[0] == pytest.approx(
        learned({"name": "cross_entropy", "class_weights": weights}, [7, 5])[0], rel=1e-12
    )


@pytest.mark.parametrize("alpha", [None, 0.25, 1.0])
def test_binary_focal_is_torchvisions(alpha: float | None) -> None:
    theirs = sigmoid_focal_loss(logits(), several(), alpha=-1 if alpha is None else alpha, gamma=1.5, reduction="none").mean(1)
    torch.testing.assert_close(losses.binary_focal(logits(), several(), gamma=1.5, alpha=alpha), theirs, rtol=1e-10, atol=1e-12)


def test_binary_cross_entropy_is_torchs() -> None:
    weights = [1.0, 2.0, 0.5, 0.0, 3.0]
    theirs = F.binary_cross_entropy_with_logits(logits(), several(), pos_weight=torch.tensor(weights, dtype=torch.float64))
    assert float(losses.binary_cross_entropy(logits(), several(), pos_weight=weights).mean()) == pytest.approx(float(theirs), rel=1e-12)
    one = F.binary_cross_entropy_with_logits(logits(), F.one_hot(label(), CLASSES).double())
    assert learned({"name": "binary_cross_entropy"}, [4, 8])[0] == pytest.approx(float(one), rel=1e-12)


@pytest.mark.parametrize(("gamma_neg", "gamma_pos", "clip"), [(4.0, 1.0, 0.05), (2.0, 0.0, 0.0), (0.0, 0.0, 0.0)])
def test_asymmetric_is_timms(gamma_neg: float, gamma_pos: float, clip: float) -> None:
    given = logits().float().requires_grad_()
    theirs = AsymmetricLossMultiLabel(gamma_neg, gamma_pos, clip, reduction="sum")(given, several())
    ours = losses.asymmetric(given, several(), gamma_neg=gamma_neg, gamma_pos=gamma_pos, clip=clip).sum()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(*(torch.autograd.grad(v, given)[0] for v in (ours, theirs)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 1.0), (4.0, 0.3), (2.0, 0.0)])
def test_distillation_is_its_equation(temperature: float, alpha: float) -> None:
    taught = logits().flip(0)
    p, q = (softmax((z / temperature).numpy(), axis=1) for z in (taught, logits()))
    soft, hard = rel_entr(p, q).sum(1) * temperature**2, F.cross_entropy(logits(), label(), reduction="none").numpy()
    found = losses.distillation(logits(), label(), taught, teacher="run:x", temperature=temperature, alpha=alpha)
    assert found.numpy() == pytest.approx(alpha * soft + (1 - alpha) * hard, rel=1e-10)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 0.0, 3.0]])
def test_a_mixed_sample_costs_what_its_soft_target_costs(weights: list[float] | None) -> None:
    """The two labels and their share are torch's cross entropy with probabilities as the target; weights divide by theirs."""
    share = torch.linspace(0, 1, 12, dtype=torch.float64)
    other = (label() + 2) % CLASSES
    soft = share[:, None] * F.one_hot(label(), CLASSES) + (1 - share[:, None]) * F.one_hot(other, CLASSES)
    tensor = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    theirs = F.cross_entropy(logits(), soft, weight=tensor, label_smoothing=0.1, reduction="sum")
    count = 12 if tensor is None else float((soft * tensor).sum())
    loss = {"name": "cross_entropy", "label_smoothing": 0.1, "class_weights": weights}
    for sizes in ([12], [5, 7]):
        total, _ = learned(loss, sizes, other=other, share=share)
        assert total == pytest.approx(float(theirs) / count, rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ({"name": "cross_entropy", "class_weights": [1.0, 2.0]}, "class_weights: expected a list of 5"),
        ({"name": "cross_entropy", "class_weights": [0.0] * 5}, "not all 0"),
        ({"name": "cross_entropy", "class_weights": ["a"] * 5}, "class_weights"),
    ],
)
def test_weights_that_do_not_fit_the_classes_are_refused(loss: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ImageClassification(loss, LABELS, {})


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("cross_entropy", {"label_smoothing": 5}),
        ("cross_entropy", {"label_smoothing": "much"}),
        ("cross_entropy", {"label_smoothing": True}),
        ("cross_entropy", {"class_weights": 3}),
        ("focal", {"gamma": -1}),
        ("distillation", {"teacher": "rocks.safetensors"}),
        ("distillation", {"temperature": 0, "teacher": "run:rocks"}),
    ],
)
def test_values_that_a_loss_does_not_take_are_named(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(arguments))}: expected"):
        ImageClassification.try_loss(name, arguments)
