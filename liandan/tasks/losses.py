"""Losses of classifiers, one value a sample: float (batch, classes) logits in, float (batch,) out.

A task sums them and says in `count` what the sum is divided by. Values that a loss does not take are a ValueError that begins with the
argument's name.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Tensor | Sequence[float] | None


def cross_entropy(logits: Tensor, label: Tensor, *, label_smoothing: float = 0.0, class_weights: Weights = None) -> Tensor:
    """-log p of the label, int64 (batch,).

    Args:
        label_smoothing: part of the target spread evenly over all classes, from 0 to 1 (Szegedy et al., "Rethinking Inception", 2016).
        class_weights: one factor a class; divided by the sum of the labels' weights it is torch's weighted mean.
    """
    _within("label_smoothing", label_smoothing, 0, 1)
    weights = per_class("class_weights", class_weights, logits)
    return F.cross_entropy(logits, label, weight=weights, label_smoothing=label_smoothing, reduction="none")


def focal(logits: Tensor, label: Tensor, *, gamma: float = 2.0, class_weights: Weights = None) -> Tensor:
    """-(1 - p)^gamma log p of the label, int64 (batch,): what is already right weighs little (Lin et al., RetinaNet, 2017, equation 4).

    Args:
        gamma: 0 is the cross entropy.
        class_weights: the paper's alpha, one factor a class.
    """
    _within("gamma", gamma, 0, None)
    log_p = logits.log_softmax(1).gather(1, label[:, None])[:, 0]
    weights = per_class("class_weights", class_weights, logits)
    return -((-log_p.expm1()) ** gamma) * log_p * (1.0 if weights is None else weights[label])


def distillation(
    logits: Tensor, label: Tensor, taught: Tensor, *,
    teacher: str, temperature: float = 2.0, alpha: float = 0.5, label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """alpha T^2 KL(teacher || student) at temperature T, plus (1 - alpha) times the cross entropy (Hinton, Vinyals, Dean, 2015).

    Args:
        taught: the teacher's logits, float (batch, classes).
        teacher: `run:<run>` of the recipe, which the task opens.
        temperature: both logits are divided by it before the softmax.
        alpha: part of the teacher, from 0 to 1.
    """
    if not isinstance(teacher, str) or not teacher.startswith("run:"):
        raise ValueError(f"teacher: expected run:<name of a run>, got {teacher!r}")
    _within("alpha", alpha, 0, 1)
    _within("temperature", temperature, 1e-3, None)
    student, theirs = (logits / temperature).log_softmax(1), (taught.to(logits.dtype) / temperature).log_softmax(1)
    soft = F.kl_div(student, theirs, log_target=True, reduction="none").sum(1) * temperature**2
    return alpha * soft + (1 - alpha) * cross_entropy(logits, label, label_smoothing=label_smoothing)


def one_against_all(logits: Tensor, label: Tensor) -> Tensor:
    """Binary cross entropy of each class against the rest, the mean over classes (Wightman et al., "ResNet strikes back", 2021)."""
    return binary_cross_entropy(logits, F.one_hot(label, logits.shape[1]))


def binary_cross_entropy(logits: Tensor, target: Tensor, *, pos_weight: Weights = None) -> Tensor:
    """Mean over classes of the binary cross entropy; target (batch, classes) in 0..1.

    Args:
        pos_weight: one factor a class on what it costs to miss it.
    """
    weights = per_class("pos_weight", pos_weight, logits)
    return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), pos_weight=weights, reduction="none").mean(1)


def binary_focal(logits: Tensor, target: Tensor, *, gamma: float = 2.0, alpha: float | None = None) -> Tensor:
    """Mean over classes of the focal loss of each class against the rest (Lin et al., RetinaNet, 2017, equation 5).

    Args:
        target: (batch, classes) in 0..1.
        alpha: weight of the classes that are there, 1 - alpha that of the others; None leaves both alone.
    """
    _within("gamma", gamma, 0, None)
    target = target.to(logits.dtype)
    plain = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p = logits.sigmoid()
    value = plain * (p + target - 2 * p * target) ** gamma  # 1 - p of what is there, p of what is not
    if alpha is not None:
        _within("alpha", alpha, 0, 1)
        value = value * (alpha * target + (1 - alpha) * (1 - target))
    return value.mean(1)


def asymmetric(logits: Tensor, target: Tensor, *, gamma_neg: float = 4.0, gamma_pos: float = 1.0, clip: float = 0.05) -> Tensor:
    """Sum over classes of the asymmetric loss: the many classes that are not there are focused away harder than those that are.

    Args:
        target: (batch, classes) in 0..1.
        gamma_neg, gamma_pos: focusing of absent and of present classes.
        clip: an absent class with a probability below this costs nothing.

    Ridnik et al., "Asymmetric loss for multi-label classification", 2021, equation 7.
    """
    _within("gamma_neg", gamma_neg, 0, None)
    _within("gamma_pos", gamma_pos, 0, None)
    _within("clip", clip, 0, 1)
    target, p = target.to(logits.dtype), logits.sigmoid()
    absent = (1 - p + clip).clamp(max=1)
    least = 1e-8
    value = target * p.clamp(min=least).log() + (1 - target) * absent.clamp(min=least).log()
    focus = (1 - p * target - absent * (1 - target)) ** (gamma_pos * target + gamma_neg * (1 - target))
    return -(value * focus).sum(1)


def per_class(name: str, values: Weights, logits: Tensor) -> Tensor | None:
    """One factor a class as a tensor beside the logits; raises ValueError for a list that is not that. A tensor was checked before."""
    if values is None or isinstance(values, Tensor):
        return values if values is None else values.to(logits)
    numbers = isinstance(values, list | tuple) and all(_is_number(v) and v >= 0 for v in values)
    if not numbers or len(values) != logits.shape[1] or not any(values):
        raise ValueError(f"{name}: expected a list of {logits.shape[1]} numbers of 0 or more, one a class and not all 0, got {values!r}")
    return torch.tensor(values, dtype=logits.dtype, device=logits.device)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _within(name: str, value: object, low: float, high: float | None) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= (value if high is None else high):
        limits = f"from {low:g} to {high:g}" if high is not None else f"of {low:g} or more"
        raise ValueError(f"{name}: expected a number {limits}, got {value!r}")
