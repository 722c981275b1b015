"""Running statistics that do not depend on who computed which micro-batch.

Left alone, BatchNorm moves its running mean and variance once for each micro-batch of each process, so they depend on how a
batch was divided. Here every micro-batch of a turn starts from the statistics before the turn, and the statistics after it
are the mean of what the micro-batches found, weighted by samples, over all processes: moved once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from liandan.runtime.device import Device


class RunningStatistics:
    """The running statistics of a model's BatchNorm modules over one turn."""

    def __init__(self, model: nn.Module, device: Device, micro_batches: int) -> None:
        self.device = device
        # with one micro-batch in all, the modules' own single move is the mean already
        alone = device.world == 1 and micro_batches == 1
        moving = (m for m in model.modules() if isinstance(m, _BatchNorm) and m.training and m.running_mean is not None)
        modules = [] if alone else list(moving)
        self.moved: list[Tensor] = [b for m in modules for b in (m.running_mean, m.running_var) if b is not None]
        self.counted: list[Tensor] = [m.num_batches_tracked for m in modules if m.num_batches_tracked is not None]
        self.before = [b.clone() for b in self.moved]
        self.tracked = [c.clone() for c in self.counted]
        self.sums = [torch.zeros_like(b) for b in self.moved]
        self.weight = 0.0

    @torch.no_grad()
    def after(self, samples: int) -> None:
        """Note what one micro-batch found and go back to the statistics before the turn."""
        self.weight += samples
        for buffer, before, total in zip(self.moved, self.before, self.sums, strict=True):
            total += samples * buffer
            buffer.copy_(before)

    @torch.no_grad()
    def close(self) -> None:
        """Move once, by the mean over all micro-batches of all processes."""
        if not self.moved:
            return
        self.device.reduce(self.sums)
        weight = self.device.sum([self.weight])[0]
        for buffer, total in zip(self.moved, self.sums, strict=True):
            buffer.copy_(total / weight)
        for count, before in zip(self.counted, self.tracked, strict=True):
            count.copy_(before + 1)

    @torch.no_grad()
    def undo(self) -> None:
        """The turn was not finished: as if it had not begun."""
        for buffer, before in zip(self.moved + self.counted, self.before + self.tracked, strict=True):
            buffer.copy_(before)
