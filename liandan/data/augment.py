"""Steps that torchvision lacks. Like its own they draw from torch's default generator, which `Chain.apply_middle` seeds by the key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from liandan.data.errors import suggest

Image = torch.Tensor

# principal components of ImageNet's RGB values, 0..255 (Krizhevsky, Sutskever, Hinton, "AlexNet", 2012, section 4.1)
_EIGVAL = (55.4625, 4.7940, 1.1475)
_EIGVEC = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


class Lighting:
    """Noise along the principal components of color: each adds a normal multiple of its eigenvalue to the whole image.

    Args:
        eigval: one a component, on the scale 0..255; by default ImageNet's.
        eigvec: rows are red, green, blue; columns the components.
        alphastd: standard deviation of the multiples.
    """

    def __init__(
        self, eigval: Sequence[float] = _EIGVAL, eigvec: Sequence[Sequence[float]] = _EIGVEC, alphastd: float = 0.1
    ) -> None:
        self.scaled = torch.tensor(eigvec, dtype=torch.float64) * torch.tensor(eigval, dtype=torch.float64)
        if self.scaled.shape != (3, 3):
            raise ValueError("expected three eigenvalues and three rows of three numbers in eigvec")
        self.alphastd = float(alphastd)

    def __call__(self, image: Image) -> Image:
        """uint8 (3, H, W), or float on the scale 0..1."""
        noise = (self.scaled @ torch.randn(3, dtype=torch.float64) * self.alphastd).float()[:, None, None]
        if image.shape[-3] != 3:
            raise ValueError(f"lighting needs color images, got {image.shape[-3]} channel")
        if image.is_floating_point():
            return image + noise.to(image.dtype) / 255
        return (image.float() + noise).round_().clamp_(0, 255).to(torch.uint8)


class AugmentPolicies:
    """A few operations, drawn from a list, one after the other; operations and their options are named as in mmpretrain's configs.

    Args:
        policies: operations {name, magnitude_range or a magnitude of its own, prob, ...} (a bare name is one without more), or lists of
            them that are applied together (sub-policies, as in AutoAugment). Default: all operations, stronger with the level.
        num_policies: how many are drawn, with replacement.
        magnitude_level: of every operation that has a `magnitude_range` [a, b]: its magnitude is a + (b - a) * level / total_level.
        magnitude_std: standard deviation of the level, which is cut off at 0 and total_level; "inf" draws it evenly from 0 to the level.
        total_level: the level at which the magnitude is b.

    Cubuk et al., "AutoAugment", 2019, and "RandAugment", 2020.
    """

    def __init__(
        self,
        policies: Sequence[Any] | None = None,
        num_policies: int = 2,
        magnitude_level: float = 9,
        magnitude_std: float | str = 0.5,
        total_level: float = 10,
    ) -> None:
        if not isinstance(num_policies, int) or num_policies < 1 or total_level <= 0 or not 0 <= magnitude_level <= total_level:
            raise ValueError("expected num_policies above 0, total_level above 0 and magnitude_level from 0 to total_level")
        if magnitude_std != "inf" and (isinstance(magnitude_std, str) or magnitude_std < 0):
            raise ValueError(f'expected magnitude_std of 0 or more, or "inf", got {magnitude_std!r}')
        listed = ALL if policies is None else policies
        if isinstance(listed, str) or not listed:
            raise ValueError(f"expected a list of policies, got {listed!r}")
        self.policies = [[_operation(p) for p in ([entry] if isinstance(entry, str | Mapping) else entry)] for entry in listed]
        self.num_policies, self.level, self.std, self.total = num_policies, magnitude_level, magnitude_std, total_level

    def __call__(self, image: Image) -> Image:
        """uint8 (C, H, W) -> the same."""
        if image.dtype != torch.uint8:
            raise ValueError("augment_policies needs whole pixels of 0..255: put it before to_float")
        for drawn in torch.randint(len(self.policies), (self.num_policies,)).tolist():
            for operation in self.policies[drawn]:
                if _uniform() < operation["prob"]:
                    image = OPERATIONS[operation["name"]](image, self._magnitude(operation), operation)
        return image

    def _magnitude(self, operation: Mapping[str, Any]) -> float:
        level: float = self.level
        if isinstance(self.std, str):
            level = _uniform() * level
        elif self.std:
            level = min(max(float(torch.randn(()) * self.std + level), 0.0), self.total)
        low, high = operation["magnitude_range"] or (0.0, 0.0)
        magnitude = low + (high - low) * level / self.total if operation["magnitude"] is None else operation["magnitude"]
        return -magnitude if operation["name"] in _EITHER_WAY and _uniform() < operation["random_negative_prob"] else magnitude


def _uniform() -> float:
    return float(torch.rand(()))


def _affine(image: Image, options: Mapping[str, Any], **change: Any) -> Image:
    """An affine change; the uncovered border takes the fill."""
    plain: dict[str, Any] = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]}
    fill: Any = options["pad_val"] if isinstance(options["pad_val"], int | float) else list(options["pad_val"])
    return F.affine(image, **(plain | change), interpolation=InterpolationMode(options["interpolation"]), fill=fill)


def _shear(image: Image, magnitude: float, options: Mapping[str, Any]) -> Image:
    angle = math.degrees(math.atan(magnitude))
    return _affine(image, options, shear=[angle, 0.0] if options["direction"] == "horizontal" else [0.0, angle], center=[0, 0])


def _translate(image: Image, magnitude: float, options: Mapping[str, Any]) -> Image:
    height, width = image.shape[-2:]
    way = [int(magnitude * width), 0] if options["direction"] == "horizontal" else [0, int(magnitude * height)]
    return _affine(image, options, translate=way)


def _solarize_add(image: Image, magnitude: float, options: Mapping[str, Any]) -> Image:
    return torch.where(image < options["thr"], (image.int() + int(magnitude)).clamp(max=255).to(torch.uint8), image)


def _cutout(image: Image, magnitude: float, options: Mapping[str, Any]) -> Image:
    height, width = image.shape[-2:]
    y, x, half = _uniform() * height, _uniform() * width, magnitude / 2
    out = image.clone()
    fill = torch.tensor(options["pad_val"], dtype=torch.uint8).view(-1, 1, 1)
    out[..., max(0, int(y - half)) : int(y + half), max(0, int(x - half)) : int(x + half)] = fill
    return out


# name -> (image, magnitude, options) -> image. What the magnitude is: a tangent, a part of the side, degrees, a threshold of 0..256, what
# is added, bits, the distance of a factor from 1, a side in pixels.
OPERATIONS: dict[str, Callable[[Image, float, Mapping[str, Any]], Image]] = {
    "Shear": _shear,
    "Translate": _translate,
    "Rotate": lambda image, magnitude, options: _affine(image, options, angle=magnitude),
    "AutoContrast": lambda image, magnitude, options: F.autocontrast(image),
    "Equalize": lambda image, magnitude, options: F.equalize(image),
    "Invert": lambda image, magnitude, options: F.invert(image),
    "Solarize": lambda image, magnitude, options: F.solarize(image, magnitude) if magnitude <= 255 else image,
    "SolarizeAdd": _solarize_add,
    "Posterize": lambda image, magnitude, options: F.posterize(image, math.ceil(magnitude)),
    "ColorTransform": lambda image, magnitude, options: F.adjust_saturation(image, 1 + magnitude),
    "Contrast": lambda image, magnitude, options: F.adjust_contrast(image, 1 + magnitude),
    "Brightness": lambda image, magnitude, options: F.adjust_brightness(image, 1 + magnitude),
    "Sharpness": lambda image, magnitude, options: F.adjust_sharpness(image, 1 + magnitude),
    "Cutout": _cutout,
}
_EITHER_WAY = {"Shear", "Translate", "Rotate", "ColorTransform", "Contrast", "Brightness", "Sharpness"}  # the magnitude may be turned round
_WITHOUT = {"AutoContrast", "Equalize", "Invert"}  # have no magnitude
_ITS_OWN = {"Rotate": "angle", "Solarize": "thr", "Posterize": "bits", "Cutout": "shape"}  # what a fixed magnitude is called, if not so
_OPTIONS: dict[str, Any] = {
    "magnitude_range": None,
    "magnitude_key": None,  # not used: the magnitude has one place in each operation
    "prob": 0.5,
    "random_negative_prob": 0.5,
    "direction": "horizontal",
    "pad_val": 128,
    "interpolation": "nearest",
    "thr": 128,
}

ALL: list[Any] = [
    "AutoContrast",
    "Equalize",
    "Invert",
    {"name": "Rotate", "magnitude_range": [0, 30]},
    {"name": "Posterize", "magnitude_range": [4, 0]},
    {"name": "Solarize", "magnitude_range": [256, 0]},
    {"name": "SolarizeAdd", "magnitude_range": [0, 110]},
    *({"name": name, "magnitude_range": [0, 0.9]} for name in ("ColorTransform", "Contrast", "Brightness", "Sharpness")),
    *({"name": "Shear", "magnitude_range": [0, 0.3], "direction": direction} for direction in ("horizontal", "vertical")),
    *({"name": "Translate", "magnitude_range": [0, 0.45], "direction": direction} for direction in ("horizontal", "vertical")),
]


def _operation(given: str | Mapping[str, Any]) -> dict[str, Any]:
    """An operation with all of its options; raises ValueError for names, options and values there are not."""
    given = {"name": given} if isinstance(given, str) else given
    name = given.get("name")
    if name not in OPERATIONS:
        raise ValueError(f'no operation "{name}"; {suggest(str(name), OPERATIONS)}')
    own = _ITS_OWN.get(name, "magnitude")
    known = ["name", own, *(key for key in _OPTIONS if key != "thr" or name == "SolarizeAdd")]
    for key in given:
        if key not in known:
            raise ValueError(f'{name} takes no "{key}"; {suggest(key, known)}')
    made: dict[str, Any] = _OPTIONS | {"interpolation": "bilinear" if name == "Shear" else "nearest"} | dict(given)
    if made["interpolation"] == "bicubic":
        made["interpolation"] = "bilinear"  # the best there is for a tensor's affine change
    made["magnitude"] = given.get(own)
    if (made["magnitude"] is None) == (made["magnitude_range"] is None) and name not in _WITHOUT:
        raise ValueError(f"{name}: expected one of {own} and magnitude_range [from, to]")
    if made["direction"] not in ("horizontal", "vertical"):
        raise ValueError(f'{name}: expected direction horizontal or vertical, got "{made["direction"]}"')
    if made["magnitude_range"] is not None and len(made["magnitude_range"]) != 2:
        raise ValueError(f"{name}: expected magnitude_range [from, to], got {made['magnitude_range']}")
    if not (0 <= made["prob"] <= 1 and 0 <= made["random_negative_prob"] <= 1):
        raise ValueError(f"{name}: expected prob and random_negative_prob from 0 to 1")
    InterpolationMode(made["interpolation"])
    return made
