"""What a model is made of: layers, output shapes, parameters, multiply-adds, receptive fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from liandan import models
from liandan.models.dcgan import DCGAN
from liandan.models.field import Fields
from liandan.models.gpt import GPT

_TOKENS = 128  # of a language model that could see thousands


@dataclass
class Row:
    """A layer: a module that holds parameters itself, or has no children."""

    name: str
    type: str
    output: Any = None  # shape as a list; nested as the output is; None: never called as a module
    parameters: int = 0  # its own; one that several layers share is counted at the first
    macs: int = 0  # multiply-adds of the example, those of the modules beneath it not included
    field: int | list[int] | None = None  # pixels that an element of the output sees, [height, width] where they differ; None: all

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Summary:
    rows: list[Row]  # in the order in which their first call ended, then those never called
    parameters: int
    trainable: int
    macs: int  # of the whole forward, attention and functional layers included
    field: int | list[int] | None = None  # the widest receptive field of a convolutional network, in pixels; None for others

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def summary(model: nn.Module, example_inputs: Any) -> Summary:
    """Run the model once on `example_inputs` and count.

    Multiply-adds are half the floating point operations of matrix products and convolutions; elementwise operations,
    normalization and pooling are not counted, as is the custom of papers. Receptive fields are those of convolutional networks
    on one image (see `field`); None after a pooling of the whole image, a hidden layer of a flattened one, or attention.

    Args:
        model: on any device; runs in eval without gradients and is left in the mode it was in, module by module.
        example_inputs: a tensor, a tuple of positional or a mapping of keyword arguments, on the model's device.
    """
    modes = {m: m.training for m in model.modules()}
    handles: list[Any] = []
    rows: dict[nn.Module, Row] = {}
    called: dict[nn.Module, Row] = {}  # in order
    counter = FlopCounterMode(display=False)
    fields = Fields(example_inputs)
    open_calls: list[list[int]] = []  # [operations before the call, operations of the layers inside it]

    def before(module: nn.Module, _: Any) -> None:
        open_calls.append([counter.get_total_flops(), 0])

    def after(module: nn.Module, _: Any, output: Any) -> None:
        start, inner = open_calls.pop()
        spent = counter.get_total_flops() - start
        if open_calls:
            open_calls[-1][1] += spent
        row = called.setdefault(module, rows[module])
        row.output, row.field = _shape(output), fields.of(output)
        row.macs += (spent - inner) // 2

    seen: set[nn.Parameter] = set()
    for name, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if p not in seen]
        seen.update(own)
        if own or not any(True for _ in module.children()):
            rows[module] = Row(name, type(module).__name__, parameters=sum(p.numel() for p in own))
            handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    model.eval()
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # Some fused attention kernels are unknown to the counter; the plain one, no fast path, is made of products that it counts.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter, fields:
            if isinstance(example_inputs, Mapping):
                model(**example_inputs)
            else:
                model(*(example_inputs if isinstance(example_inputs, tuple | list) else (example_inputs,)))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return Summary(
        rows=[*called.values(), *(row for module, row in rows.items() if module not in called)],
        parameters=sum(p.numel() for p in model.parameters()),
        trainable=sum(p.numel() for p in model.parameters() if p.requires_grad),
        macs=counter.get_total_flops() // 2,
        field=max((row.field for row in called.values() if row.field is not None and fields.local), key=_area, default=None),
    )


def example(name: str, model: nn.Module, size: int | list[int] | None = None) -> Tensor | tuple[Tensor, Tensor]:
    """One sample of zeros that `model`, built from `name`, can run on: a full context of ids (of transformers' models at most 128, and with
    a mask for those that classify), a latent vector, or an image.

    Args:
        size: pixels of the image, or [height, width]; None: the model's own.
    """
    if name == "liandan/gpt":
        return torch.zeros(1, cast(GPT, model).context, dtype=torch.int64)
    if name.startswith("hf/"):
        ids = torch.zeros(1, min(getattr(model, "context", _TOKENS), _TOKENS), dtype=torch.int64)
        return ids if hasattr(model, "context") else (ids, torch.ones_like(ids, dtype=torch.bool))
    if name == "liandan/dcgan":
        return torch.zeros(1, cast(DCGAN, model).latent)
    own = models.defaults(name)
    pixels: int | list[int] = size or own["size"]
    height, width = (pixels, pixels) if isinstance(pixels, int) else pixels
    channels = next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), own["channels"])
    return torch.zeros(1, channels, height, width)


def _area(field: int | list[int]) -> int:
    return field * field if isinstance(field, int) else field[0] * field[1]


def _shape(output: Any) -> Any:
    if isinstance(output, Tensor):
        return list(output.shape)
    if isinstance(output, Mapping):
        return {k: _shape(v) for k, v in output.items()}
    return [_shape(v) for v in output] if isinstance(output, tuple | list) else None
