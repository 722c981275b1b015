"""Image transforms by name, and how a list of them is divided so that no work is done twice.

A list of steps is divided into three, by what each step is:

    prefix   the leading deterministic steps: made once a sample, kept as uint8
    middle   from the first random step on: made for every visit, all noise from the sample's key
    tail     the trailing elementwise steps (to_float, normalize): made on the collated batch

`[resize, center_crop, random_horizontal_flip, to_float, normalize]` is `[resize, center_crop] [random_horizontal_flip]
[to_float, normalize]`. A step of the tail that a random step follows (random_erasing after normalize) belongs to the middle.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from liandan.data.errors import DataError, suggest

Step = dict[str, Any]  # {"name": ..., and keyword arguments}, JSON-able

# name -> class of torchvision.transforms.v2, or of augment.py here, whose arguments the step takes
TRANSFORMS = {
    "resize": "Resize",
    "center_crop": "CenterCrop",
    "pad": "Pad",
    "grayscale": "Grayscale",
    "to_float": "ToDtype",
    "normalize": "Normalize",
    "random_crop": "RandomCrop",
    "random_resized_crop": "RandomResizedCrop",
    "random_resize": "RandomResize",
    "random_zoom_out": "RandomZoomOut",
    "scale_jitter": "ScaleJitter",
    "random_horizontal_flip": "RandomHorizontalFlip",
    "random_vertical_flip": "RandomVerticalFlip",
    "random_rotation": "RandomRotation",
    "random_affine": "RandomAffine",
    "random_perspective": "RandomPerspective",
    "elastic": "ElasticTransform",
    "color_jitter": "ColorJitter",
    "random_photometric_distort": "RandomPhotometricDistort",
    "random_channel_permutation": "RandomChannelPermutation",
    "random_grayscale": "RandomGrayscale",
    "random_invert": "RandomInvert",
    "random_posterize": "RandomPosterize",
    "random_solarize": "RandomSolarize",
    "random_autocontrast": "RandomAutocontrast",
    "random_equalize": "RandomEqualize",
    "random_adjust_sharpness": "RandomAdjustSharpness",
    "gaussian_blur": "GaussianBlur",
    "gaussian_noise": "GaussianNoise",
    "random_erasing": "RandomErasing",
    "rand_augment": "RandAugment",
    "trivial_augment_wide": "TrivialAugmentWide",
    "auto_augment": "AutoAugment",
    "aug_mix": "AugMix",
    "augment_policies": "AugmentPolicies",
    "lighting": "Lighting",
}
DETERMINISTIC = {"resize", "center_crop", "pad", "grayscale"}
ELEMENTWISE = {"to_float", "normalize"}

_SMALL = 64  # pixels: below, images are digits and characters rather than photographs


class TransformError(DataError):
    """A step that does not exist, an argument it does not take, or a list that cannot work."""


def signature(name: str) -> inspect.Signature:
    """The keyword arguments of a step; raises TransformError with the nearest name."""
    if name == "to_float":
        return inspect.Signature()  # uint8 0..255 -> float32 0..1; ToDtype's own arguments would only undo that
    return inspect.signature(_class(name))


def _class(name: str) -> Callable[..., Any]:
    if name not in TRANSFORMS:
        raise TransformError(f'no transform "{name}"; {suggest(name, TRANSFORMS)}')
    from torchvision.transforms import v2

    from liandan.data import augment

    return getattr(augment, TRANSFORMS[name], None) or getattr(v2, TRANSFORMS[name])


def build(step: Step) -> Callable[[torch.Tensor], torch.Tensor]:
    """One step -> a callable on (..., C, H, W) tensors. Raises TransformError for unknown names and arguments, and bad values."""
    arguments = {key: value for key, value in step.items() if key != "name"}
    parameters = signature(step["name"]).parameters
    for key in arguments:
        if key not in parameters:
            raise TransformError(f'{step["name"]} takes no "{key}"; {suggest(key, parameters)}')
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in arguments:
            raise TransformError(f'{step["name"]} needs "{key}"')
    if step["name"] == "to_float":
        arguments = {"dtype": torch.float32, "scale": True}
    try:
        return _class(step["name"])(**{key: _value(key, value) for key, value in arguments.items()})
    except TransformError:
        raise
    except Exception as error:  # torchvision judges values in many ways; all of them are about this step
        raise TransformError(f"{step['name']}: {error} (got {arguments})") from error


def _value(key: str, value: Any) -> Any:
    """Text that stands for one of torchvision's enums -> the enum."""
    if key == "interpolation" and isinstance(value, str):
        from torchvision.transforms import InterpolationMode as Enum
    elif key == "policy" and isinstance(value, str):
        from torchvision.transforms import AutoAugmentPolicy as Enum
    else:
        return value
    known = {member.value: member for member in Enum}
    if value.lower() not in known:
        raise TransformError(f'no {key} "{value}"; {suggest(value.lower(), known)}')
    return known[value.lower()]


def plain(step: str | Mapping[str, Any]) -> Step:
    """A bare name is a step without arguments."""
    step = {"name": step} if isinstance(step, str) else dict(step)
    if not isinstance(step.get("name"), str):
        raise TransformError(f'expected a transform as {{"name": ..., arguments}}, got {step}')
    return step


def complete(steps: Sequence[str | Mapping[str, Any]], mean: Sequence[float], std: Sequence[float]) -> list[Step]:
    """A person's list, made to end in what a model expects.

    Without `to_float` the list gets `to_float` and `normalize` at its end, with the model's mean and std: forgetting them
    costs accuracy and raises nothing. `normalize` without `to_float` gets it in front. With `to_float`, the list is taken as it is.
    """
    listed = [plain(step) for step in steps]
    names = [step["name"] for step in listed]
    if "to_float" in names:
        return listed
    if "normalize" in names:
        at = names.index("normalize")
        return [*listed[:at], {"name": "to_float"}, *listed[at:]]
    return [*listed, {"name": "to_float"}, _normalize(mean, std)]


def _normalize(mean: Sequence[float], std: Sequence[float]) -> Step:
    return {"name": "normalize", "mean": [float(m) for m in mean], "std": [float(s) for s in std]}


def auto_eval(size: tuple[int, int], mean: Sequence[float], std: Sequence[float], crop_pct: float, interpolation: str) -> list[Step]:
    """Photographs: the shorter side to size / crop_pct, then the center (He et al. 2016, section 3.4, and timm). Small images: to size."""
    height, width = size
    if max(size) < _SMALL:
        geometry: list[Step] = [{"name": "resize", "size": [height, width], "interpolation": interpolation}]
    else:
        shorter = int(max(size) / crop_pct)
        geometry = [{"name": "resize", "size": shorter, "interpolation": interpolation}, {"name": "center_crop", "size": [height, width]}]
    return [*geometry, {"name": "to_float"}, _normalize(mean, std)]


def auto_train(size: tuple[int, int], mean: Sequence[float], std: Sequence[float], interpolation: str, fill: int) -> list[Step]:
    """Photographs: random resized crops (Szegedy et al. 2015, gentler: a third of the area at least) and flips.

    Small images are digits and characters, which a flip turns into others: small shifts, turns and scales instead, the uncovered
    border filled with `fill`, the background.
    """
    if max(size) < _SMALL:
        affine = {"degrees": 10, "translate": [0.08, 0.08], "scale": [0.9, 1.1], "interpolation": "bilinear", "fill": fill}
        noise: list[Step] = [
            {"name": "resize", "size": list(size), "interpolation": interpolation},
            {"name": "random_affine", **affine},
        ]
    else:
        noise = [
            {"name": "random_resized_crop", "size": list(size), "scale": [0.35, 1.0], "interpolation": interpolation},
            {"name": "random_horizontal_flip"},
        ]
    return [*noise, {"name": "to_float"}, _normalize(mean, std)]


def at_least(steps: Sequence[Step]) -> int | None:
    """Pixels a side below which decoding would cost quality, from the first step; None: decode in full.

    Twice what the step keeps: the resize, not the decoder, then decides how the image looks (Pillow's reducing_gap of 2).
    """
    if not steps:
        return None
    first = steps[0]
    if first["name"] == "resize" and first.get("size") is not None:
        return 2 * _longest(first["size"])
    if first["name"] == "random_resized_crop":
        smallest_area, flattest = min(first.get("scale", (0.08, 1.0))), min(first.get("ratio", (3 / 4, 4 / 3)))
        return int(2 * _longest(first["size"]) / (smallest_area * min(flattest, 1.0)) ** 0.5)
    return None


def _longest(size: int | Sequence[int]) -> int:
    return int(size) if isinstance(size, (int, float)) else max(int(s) for s in size)


@dataclass
class Chain:
    """A list of steps, divided and built.

    Attributes:
        steps: the list, JSON-able.
        prefix, middle, tail: its callables.
    """

    steps: list[Step]
    prefix: list[Callable[[torch.Tensor], torch.Tensor]]
    middle: list[Callable[[torch.Tensor], torch.Tensor]]
    tail: list[Callable[[torch.Tensor], torch.Tensor]]

    def apply_prefix(self, image: torch.Tensor) -> torch.Tensor:
        for step in self.prefix:
            image = step(image)
        return image

    def apply_middle(self, image: torch.Tensor, key: int) -> torch.Tensor:
        """All noise from `key`; the process's own generator is left as it was.

        torchvision draws from torch's default CPU generator and nowhere else. That is seeded directly: torch.manual_seed would
        also touch every accelerator, which a forked worker must not.
        """
        if not self.middle:
            return image
        generator = torch.default_generator
        before = generator.get_state()
        try:
            generator.manual_seed(key)
            for step in self.middle:
                image = step(image)
        finally:
            generator.set_state(before)
        return image

    def apply_tail(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> the same; elementwise, so a sample's bits do not depend on its batch."""
        for step in self.tail:
            images = step(images)
        return images


def divide(steps: Sequence[Step]) -> Chain:
    """Divide by the rule at the head of this file and build every step; raises TransformError."""
    names = [step["name"] for step in steps]
    tail = len(names)
    while tail and names[tail - 1] in ELEMENTWISE:
        tail -= 1
    prefix = 0
    while prefix < tail and names[prefix] in DETERMINISTIC:
        prefix += 1
    built = [build(step) for step in steps]
    return Chain(list(steps), built[:prefix], built[prefix:tail], [_kernel(step) for step in built[tail:]])


def _kernel(step: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """What an elementwise step does to a tensor, without what it does first to find out that it was given one: a tenth of a small step."""
    from torchvision.transforms.v2 import Normalize, functional

    if isinstance(step, Normalize):
        return partial(functional.normalize_image, mean=step.mean, std=step.std, inplace=step.inplace)
    return partial(functional.to_dtype_image, dtype=torch.float32, scale=True)


def random_steps(steps: Sequence[Step]) -> list[str]:
    return [step["name"] for step in steps if step["name"] not in DETERMINISTIC | ELEMENTWISE]
