"""Where a classifier looked: Grad-CAM (Selvaraju et al. 2017) through the grad-cam library."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from liandan.runs import plots
from liandan.runs.layout import RunError
from liandan.runtime.opened import OpenRun, Unreadable

_SHOWN = 5  # classes in the bars
_MOST_PREFIXES = 8  # tokens before the patches: class, distillation, registers

Reshape = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Look:
    """Where a model looked for a class.

    Attributes:
        image: uint8 (height, width, 3), as the model sees it.
        heat: float (height, width), 0 to 1: how much a place speaks for the class.
        top: the task's most probable classes, [{"label", "confidence"}].
    """

    image: np.ndarray
    heat: np.ndarray
    label: str
    top: list[dict[str, Any]]

    @property
    def confidence(self) -> float | None:
        """Of the class; None where it is not among the most probable ones."""
        return next((x["confidence"] for x in self.top if x["label"] == self.label), None)

    def overlay(self) -> bytes:
        """A PNG of the image under its heat."""
        return plots.heated(self.image, self.heat)


class Explainer:
    """Grad-CAM of one run.

    Raises:
        RunError: the run does not classify images, or grad-cam is not installed.
    """

    def __init__(self, run: OpenRun) -> None:
        if not run.sees or not run.task.labels:
            raise RunError(f"{run.layout.root} does not classify images: there is nothing to explain")
        try:
            import pytorch_grad_cam
        except ImportError as error:
            raise RunError(f"explaining needs grad-cam, which cannot be imported here ({error}): pip install 'liandan[explain]'") from error
        self.run, self.labels, self.library = run, run.task.labels, pytorch_grad_cam
        self._layer: tuple[nn.Module, Reshape | None] | None = None

    def known(self, label: str | None) -> None:
        """Raise RunError if there is no such class."""
        if label is not None and label not in self.labels:
            names = f"{', '.join(self.labels[:20])}{' ...' if len(self.labels) > 20 else ''}"
            raise RunError(f'there is no class "{label}"; the classes are {names}')

    def look(self, example: dict[str, Any], label: str | None = None) -> Look:
        """Where the model looks for a class, None for the most probable one.

        Args:
            example: the pipeline's, of one image.

        Raises:
            RunError: there is no such class, or the model has no map of the image.
        """
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        self.known(label)
        run = self.run
        images = run.device.move(run.pipeline.collate([example]))["image"]
        if self._layer is None:
            self._layer = target_layer(run.model, images)
        layer, reshape = self._layer
        with torch.no_grad():
            top = run.task.decode({"logits": run.logits(images)})[0]["top"]
        chosen = top[0]["label"] if label is None else label
        target = ClassifierOutputTarget(self.labels.index(chosen))
        with self.library.GradCAM(model=_Logits(run), target_layers=[layer], reshape_transform=reshape) as cam:
            heat = cam(input_tensor=images, targets=[target])[0]  # pyright: ignore[reportArgumentType]
        return Look(_shown(example["image"], heat.shape), heat, chosen, top)


def explain(run: OpenRun, inputs: Iterable[str], label: str | None = None, out: Path | None = None) -> Iterator[dict[str, Any]]:
    """A picture for each image: as the model sees it, the same under its heat, and the probabilities.

    Args:
        inputs: images, videos, folders of them.
        label: the class to explain; None explains each image's own prediction.
        out: folder of the pictures; None: samples/explain/ of the run.

    Yields:
        {input, label, confidence (None where the class is not among the most probable ones), picture}, or {input, error}.

    Raises:
        RunError: the run does not classify images, has no such class, or grad-cam is not installed.
    """
    explainer = Explainer(run)
    explainer.known(label)
    folder = run.layout.samples / "explain" if out is None else out
    taken: set[str] = set()
    for item in run.items(inputs):
        try:
            if isinstance(item.what, Unreadable):
                raise item.what
            example = item.what if isinstance(item.what, dict) else run.pipeline.example(item.what)
        except Unreadable as error:
            yield {"input": item.name, "error": error.reason}
            continue
        look = explainer.look(example, label)
        name = Path(item.name).stem + (f"-{item.seconds:.2f}s" if item.seconds is not None else "")
        picture = folder / f"{_free(name, taken)}.png"
        plots.figure(
            {
                "kind": "explanation", "image": look.image, "heat": look.heat, "title": Path(item.name).name,
                "caption": f"what speaks for {look.label}",
                "labels": [x["label"] for x in look.top[:_SHOWN]], "values": [x["confidence"] for x in look.top[:_SHOWN]],
            },
            picture,
        )  # fmt: skip
        yield {"input": item.name, "label": look.label, "confidence": look.confidence, "picture": str(picture)}


class _Logits(nn.Module):
    """The model as grad-cam wants it: images in, logits out, whatever the task makes of them."""

    def __init__(self, run: OpenRun) -> None:
        super().__init__()
        self.model, self.run = run.model, run

    def forward(self, images: Tensor) -> Tensor:
        return self.run.logits(images).float()


def target_layer(model: nn.Module, images: Tensor) -> tuple[nn.Module, Reshape | None]:
    """The layer whose activations are looked at, and what makes a map (batch, channels, height, width) of them, None where they are one.

    A convolutional network: the last module that gives a map of more than one place. A transformer: the normalization before the last
    attention, behind which nothing flows from the patches to a class token any more. Which of the two a model is shows in the order in
    which its modules run, so that no family need be known by name.

    Args:
        images: float (1, channels, height, width).

    Raises:
        RunError: the model has neither.
    """
    order, attention_at = _outputs(model, images)
    size = (images.shape[-2], images.shape[-1])
    convolution_at = max((n for n, (m, shape) in enumerate(order) if isinstance(m, nn.Conv2d) and min(shape[-2:]) > 1), default=-1)
    before = order[: attention_at + 1] if attention_at >= 0 else order
    for number in range(len(before) - 1, convolution_at, -1):
        module, shape = before[number]
        reshape = _tokens(module, shape, size) if attention_at >= 0 or len(shape) == 3 else None
        if reshape is not None:
            return module, reshape
    maps = [m for m, shape in order if len(shape) == 4 and min(shape[2:]) > 1 and not _channels_last(m, shape)]
    if maps and convolution_at >= 0:
        return maps[-1], None
    raise RunError(f"{type(model).__name__} has no layer with a map of the image: Grad-CAM cannot explain it")


def _outputs(model: nn.Module, images: Tensor) -> tuple[list[tuple[nn.Module, tuple[int, ...]]], int]:
    """(modules in the order in which they end, with the shapes of what they give; how many of them had ended before the last attention
    began, less one: -1 without attention)."""
    order: list[tuple[nn.Module, tuple[int, ...]]] = []
    attention_at = -1

    def begins(module: nn.Module, inputs: Any) -> None:
        nonlocal attention_at
        name = type(module).__name__.lower()
        if "attention" in name and "pool" not in name:
            attention_at = len(order) - 1

    def ends(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            order.append((module, tuple(output.shape)))

    handles = [h for m in model.modules() for h in (m.register_forward_pre_hook(begins), m.register_forward_hook(ends))]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return order, attention_at


def _channels_last(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a normalization's 4-dimensional output is (batch, height, width, channels); one of maps is a class of its own in timm."""
    return type(module) in (nn.LayerNorm, nn.RMSNorm) and tuple(getattr(module, "normalized_shape", ())) == shape[-1:]


def _tokens(module: nn.Module, shape: tuple[int, ...], size: tuple[int, int]) -> Reshape | None:
    """What makes a map of a normalization's output: (1, tokens, channels), or (1, height, width, channels); None for other modules."""
    if not isinstance(module, nn.LayerNorm | nn.RMSNorm) or shape[0] != 1:
        return None
    if len(shape) == 4 and _channels_last(module, shape):
        return lambda tokens: tokens.permute(0, 3, 1, 2)
    grid = _grid(shape[1], size) if len(shape) == 3 else None
    if grid is None:
        return None
    height, width = grid
    return lambda tokens: tokens[:, tokens.shape[1] - height * width :].transpose(1, 2).unflatten(2, (height, width))


def _grid(tokens: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """(rows, columns) of the patches among `tokens`, in the proportions of the image, a few tokens before them left out."""
    for prefixes in range(min(_MOST_PREFIXES, tokens - 1) + 1):
        patches = tokens - prefixes
        rows = math.isqrt(patches * size[0] // size[1])
        for height in (rows, rows + 1):
            if height > 1 and patches % height == 0 and abs(height * size[1] - patches // height * size[0]) < max(size):
                return height, patches // height
    return None


def _shown(image: Tensor, size: tuple[int, ...]) -> np.ndarray:
    """uint8 (height, width, 3) of the image as the model sees it, before it is normalized."""
    pixels = image if image.shape[0] == 3 else image[:1].expand(3, -1, -1)
    if tuple(pixels.shape[1:]) != tuple(size):
        pixels = nn.functional.interpolate(pixels[None].float(), size=size, mode="bilinear").round().clamp(0, 255)[0].to(torch.uint8)
    return pixels.permute(1, 2, 0).cpu().numpy()


def _free(name: str, taken: set[str]) -> str:
    """A file name nobody of this call has: photographs of two folders may be called the same."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free)
    return free
