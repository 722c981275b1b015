"""Receptive fields of convolutional networks, found while the network runs.

Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks" (Distill, 2019): along a path, a layer of kernel k,
stride s and dilation d widens the field by (k - 1) d times the jump between neighbors, and multiplies the jump by s; where paths meet,
the widest counts. As there, a branch that pools the whole image and rejoins (squeeze-and-excitation) is left aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

aten = torch.ops.aten


@dataclass(frozen=True)
class Field:
    """What an element of a map sees of the image, in pixels, height and width."""

    size: tuple[int, int] = (1, 1)
    jump: tuple[int, int] = (1, 1)  # between the fields of neighbors
    positions: int = 1  # elements of a channel, over the batch

    def through(self, output: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int] = (1,)) -> Field:
        k, s, d = ((numbers[0], numbers[-1]) for numbers in (kernel, stride, dilation))
        height, width = (self.size[i] + (k[i] - 1) * d[i] * self.jump[i] for i in (0, 1))
        return Field((height, width), (self.jump[0] * s[0], self.jump[1] * s[1]), _positions(output))

    def plain(self) -> int | list[int]:
        return self.size[0] if self.size[0] == self.size[1] else list(self.size)


WHOLE = Field(positions=0)  # every element sees the whole image from here on


class Fields(TorchDispatchMode):
    """Follows the receptive field of each tensor that is computed from `image` while this context is open.

    Args:
        image: float (batch, channels, height, width); of anything else no field is known.

    Attributes:
        local: whether every map or sequence so far, short of the hidden layers of a head, saw less than the whole image.
    """

    def __init__(self, image: Any) -> None:
        super().__init__()
        self.local = True
        self.known = WeakTensorKeyDictionary()
        if isinstance(image, Tensor) and image.dim() == 4:
            self.known[image] = Field(positions=_positions(image))

    def of(self, output: Any) -> int | list[int] | None:
        """Pixels that an element of `output` sees, [height, width] where they differ; None: the whole image, or not known."""
        tensor = next((t for t in tree_leaves(output) if isinstance(t, Tensor)), None)
        field = self._field(tensor)
        return None if field is None or field is WHOLE else field.plain()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        inputs = [f for t in tree_leaves((args, kwargs)) if (f := self._field(t)) is not None]
        if inputs:
            field = WHOLE if WHOLE in inputs else _after(func.overloadpacket, args, max(inputs, key=lambda f: f.size), output)
            for tensor in tree_leaves(output):
                if field is not None and isinstance(tensor, Tensor):
                    self.known[tensor] = field
                    self.local &= field is not WHOLE or tensor.dim() < 3
        return output

    def _field(self, tensor: Any) -> Field | None:
        return self.known.get(tensor) if isinstance(tensor, Tensor) else None


def _after(operation: Any, args: Sequence[Any], field: Field, output: Any) -> Field | None:
    """The field after one operation on a tensor with `field`; None after a pooling of the whole image, which is left aside."""
    first = next((t for t in tree_leaves(output) if isinstance(t, Tensor)), None)
    if first is None:
        return None
    if operation is aten.convolution:
        weight, stride, dilation, transposed = args[1], args[3], args[5], args[6]
        return WHOLE if transposed or weight.dim() != 4 else field.through(first, weight.shape[2:], stride, dilation)
    if operation in (aten.max_pool2d_with_indices, aten.avg_pool2d):
        stride = args[2] if len(args) > 2 and args[2] else args[1]
        dilation = args[4] if operation is aten.max_pool2d_with_indices and len(args) > 4 else (1,)
        return field.through(first, args[1], stride, dilation)
    if operation in (aten._adaptive_avg_pool2d, aten.adaptive_max_pool2d):
        ratio = [-(-before // after) for before, after in zip(args[0].shape[-2:], first.shape[-2:], strict=True)]
        return None if first.shape[-2:] == (1, 1) else field.through(first, ratio, ratio)
    if operation in (aten.mean, aten.amax):
        pooled = len(args) < 2 or len(args[1]) > 1 or args[0].dim() == 3
        return None if pooled else field
    if operation in (aten.addmm, aten.mm):  # a linear layer: of each place for itself, or of a flattened map
        rows = args[1 if operation is aten.addmm else 0].shape[0]
        return field if rows == field.positions else WHOLE
    if operation in (aten.bmm, aten.baddbmm):  # attention
        return WHOLE
    return field


def _positions(image: Tensor) -> int:
    return image.shape[0] * image.shape[-2] * image.shape[-1]
