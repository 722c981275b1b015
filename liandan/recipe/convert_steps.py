"""Image pipelines of Python configs -> the steps of a recipe.

There, images are BGR, 0..255, until `Normalize`; here they are RGB, uint8 until `to_float`, then 0..1. So colors are turned around and
means divided by 255. Each pipeline `type` is a function below of its arguments, completed by their defaults; it returns steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .document import Node
from .faults import Fault, did_you_mean, one_of, show
from .python_config import plain

Steps = list[dict[str, Any]]
Arguments = Mapping[str, Any]

_INTERPOLATION = {"nearest": "nearest", "bilinear": "bilinear", "bicubic": "bicubic"}
_AREA = 1 / 0.875  # the usual share of a photograph that a center crop keeps (He et al. 2016, section 3.4)


class NoCounterpart(Exception):
    """A step, or a value of it, that no step here is."""

    def __init__(self, expected: str, received: str, hint: str = "") -> None:
        super().__init__(expected)
        self.expected, self.received, self.hint = expected, received, hint


@dataclass
class Pipeline:
    """One pipeline on its way.

    Attributes:
        training: False: random steps become the deterministic ones that end in the same size.
        rgb: whether the colors have been turned to RGB so far.
        gray: whether images are loaded in one channel.
        bgr: whether the model there sees BGR.
        normalize: the step that `Normalize` became, once it has.
        late: steps that belong behind `normalize`.
        notes: sentences on what is not as there.
    """

    training: bool
    rgb: bool = False
    gray: bool = False
    bgr: bool = False
    normalize: dict[str, Any] | None = None
    late: Steps = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def colors(self, value: Any) -> Any:
        """A color written in the order images have at this place -> RGB, one number for a gray one."""
        if not isinstance(value, list):
            return value
        return list(value) if self.rgb or len(value) == 1 else value[::-1]

    def random(self, made: Steps, instead: Steps, name: str) -> Steps:
        """A random step in training; in validation what ends in the same size."""
        if self.training:
            return made
        by = " and ".join(step["name"] for step in instead)
        self.notes.append(f"{name} is random and validation is never augmented: {f'{by} in its place' if by else 'left out'}")
        return instead


@dataclass(frozen=True)
class Converted:
    """steps: (step, where it was written). pipeline: what was learned on the way."""

    steps: list[tuple[dict[str, Any], str]]
    pipeline: Pipeline
    faults: list[Fault]
    notes: list[str]


def convert_steps(pipeline: Node | None, name: str, key: str, training: bool) -> Converted:
    """The steps of a pipeline: a list of dict(type=...).

    name: of the pipeline (`train_pipeline`), for notes. key: what faults call the place in the recipe (`data.transforms.train`).
    """
    state = Pipeline(training)
    found = Converted([], state, [], [])
    if pipeline is None:
        return found
    for i, node in enumerate(_flat(pipeline)):
        place = f"{name}[{i}]"
        state.notes.clear()
        try:
            steps = _convert(node, state)
        except NoCounterpart as error:
            found.faults.append(Fault(key, node.where, error.expected, f"{place}: {error.received}", error.hint))
            continue
        found.steps.extend((step, node.where) for step in steps)
        found.notes.extend(f"{node.where}  {place}: {text}" for text in state.notes)
    if state.normalize is None:
        found.steps.append(({"name": "to_float"}, pipeline.where))
        found.notes.append(f"{pipeline.where}  {name}: without Normalize the model there sees 0..255; here it sees 0..1")
    found.steps.extend((step, pipeline.where) for step in state.late)
    return found


def _flat(pipeline: Node) -> list[Node]:
    nodes = pipeline.value if isinstance(pipeline.value, list) else [pipeline]
    flat: list[Node] = []
    for node in nodes:
        inner = node.value.get("transforms") if isinstance(node.value, dict) and _type(node) == "Compose" else None
        flat += _flat(inner) if inner is not None else [node]
    return flat


def _type(node: Node) -> Any:
    return node.value["type"].value if isinstance(node.value, dict) and "type" in node.value else None


def _convert(node: Node, state: Pipeline) -> Steps:
    name = _type(node)
    if not isinstance(name, str):
        raise NoCounterpart("a step, dict(type=..., arguments)", show(plain(node)))
    if name not in STEPS:
        raise NoCounterpart(one_of(STEPS, len(STEPS)), name, did_you_mean(name, STEPS))
    function, defaults = STEPS[name]
    given = {key: value for key, value in plain(node).items() if key != "type"}
    for key in given:
        if key not in defaults:
            raise NoCounterpart(one_of(defaults), f"{name}.{key}", did_you_mean(key, defaults))
    missing = [key for key, default in defaults.items() if default is ... and key not in given]
    if missing:
        raise NoCounterpart(f"a value for {missing[0]}", f"{name} without it")
    try:
        return function({**defaults, **given}, state)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
        raise NoCounterpart(f"arguments that {name} takes", show(given), str(error)[:100]) from None


# ------------------------------------------------------------------------------------------------------------- geometry


def _square(size: Any) -> list[int]:
    height, width = size if isinstance(size, list) else (size, size)
    return [int(height), int(width)]


def _interpolation(value: str, state: Pipeline) -> str:
    if value not in _INTERPOLATION:
        state.notes.append(f"interpolation {value} is not had for tensors: bicubic")
    return _INTERPOLATION.get(value, "bicubic")


def _center(size: Any, padding: int | None, interpolation: str) -> Steps:
    """The shorter side to what a center crop then keeps: size + padding pixels, or size / 0.875."""
    height, width = _square(size)
    shorter = height + padding if padding is not None else round(max(height, width) * _AREA)
    return [
        {"name": "resize", "size": shorter, "interpolation": interpolation},
        {"name": "center_crop", "size": [height, width]},
    ]


def _load(a: Arguments, state: Pipeline) -> Steps:
    if a["color_type"] not in ("color", "grayscale"):
        raise NoCounterpart('color_type "color" or "grayscale"', f"LoadImageFromFile.color_type: {show(a['color_type'])}")
    state.gray = a["color_type"] == "grayscale"
    return []


def _random_crop(a: Arguments, state: Pipeline) -> Steps:
    modes = ("constant", "edge", "reflect", "symmetric")
    if a["padding_mode"] not in modes:
        raise NoCounterpart(one_of(modes), f"RandomCrop.padding_mode: {show(a['padding_mode'])}")
    size = _square(a["size"])
    step: dict[str, Any] = {"name": "random_crop", "size": size, "padding_mode": a["padding_mode"], "fill": state.colors(a["pad_val"])}
    step |= {"padding": a["padding"]} if a["padding"] is not None else {}
    step |= {"pad_if_needed": True} if a["pad_if_needed"] else {}
    return state.random([step], [{"name": "center_crop", "size": size}], "RandomCrop")


def _random_resized_crop(a: Arguments, state: Pipeline) -> Steps:
    interpolation = _interpolation(a["interpolation"], state)
    step = {"name": "random_resized_crop", "size": _square(a["size"]), "scale": list(a["scale"]), "ratio": list(a["ratio"])}
    if a["efficientnet_style"] and state.training:
        state.notes.append(
            "efficientnet_style: torchvision's sampler, with the same ranges of areas and aspect ratios, takes the place of TensorFlow's"
        )
    center = _center(a["size"], a["crop_padding"] if a["efficientnet_style"] else None, interpolation)
    return state.random([{**step, "interpolation": interpolation}], center, "RandomResizedCrop")


def _random_flip(a: Arguments, state: Pipeline) -> Steps:
    if a["direction"] not in ("horizontal", "vertical"):
        raise NoCounterpart("direction horizontal or vertical", f"RandomFlip.direction: {show(a['direction'])}")
    return state.random([{"name": f"random_{a['direction']}_flip", "p": a["flip_prob"]}], [], "RandomFlip")


def _pad(a: Arguments, state: Pipeline) -> Steps:
    hint = "center_crop pads an image that is smaller; resize to [height, width] changes its proportions"
    raise NoCounterpart("a step that does not depend on the size of the image", "Pad", hint)


def _resize(a: Arguments, state: Pipeline) -> Steps:
    size, interpolation = a["size"], _interpolation(a["interpolation"], state)
    if not isinstance(size, list) or size[1] != -1:
        return [{"name": "resize", "size": _square(size), "interpolation": interpolation}]
    if a["adaptive_side"] == "short":
        return [{"name": "resize", "size": int(size[0]), "interpolation": interpolation}]
    if a["adaptive_side"] == "long":
        return [{"name": "resize", "size": None, "max_size": int(size[0]), "interpolation": interpolation}]
    raise NoCounterpart("adaptive_side short or long", f"Resize.adaptive_side: {show(a['adaptive_side'])}", "or size=(height, width)")


def _center_crop(a: Arguments, state: Pipeline) -> Steps:
    if a["efficientnet_style"]:  # cropping size / (size + padding) of the shorter side and resizing it is the same, resized first
        return _center(a["crop_size"], int(a["crop_padding"]), _interpolation(a["interpolation"], state))
    return [{"name": "center_crop", "size": _square(a["crop_size"])}]


# --------------------------------------------------------------------------------------------------------------- colors


def _normalize(a: Arguments, state: Pipeline) -> Steps:
    mean, std = list(a["mean"]), list(a["std"])
    if a["to_rgb"]:
        state.rgb = not state.rgb
    elif not state.rgb and len(mean) == 3 and not state.gray:
        # each channel keeps its own mean; only their order is another
        mean, std = mean[::-1], std[::-1]
        state.bgr = True
    state.rgb = True
    state.normalize = {"name": "normalize", "mean": [round(m / 255, 6) for m in mean], "std": [round(s / 255, 6) for s in std]}
    return [{"name": "to_float"}, state.normalize]


def _grayscale(a: Arguments, state: Pipeline) -> Steps:
    return state.random([{"name": "random_grayscale", "p": a["gray_prob"]}], [], "RandomGrayscale")


def _color_jitter(a: Arguments, state: Pipeline) -> Steps:
    step = {"name": "color_jitter", **{key: a[key] for key in ("brightness", "contrast", "saturation")}}
    return state.random([step], [], "ColorJitter")


def _lighting(a: Arguments, state: Pipeline) -> Steps:
    if a["to_rgb"]:
        state.rgb = not state.rgb
    step = {"name": "lighting", "eigval": a["eigval"], "eigvec": a["eigvec"], "alphastd": a["alphastd"]}
    return state.random([step], [], "Lighting")


def _erasing(a: Arguments, state: Pipeline) -> Steps:
    ratio = a["aspect_range"] if isinstance(a["aspect_range"], list) else sorted((a["aspect_range"], 1 / a["aspect_range"]))
    step = {"name": "random_erasing", "p": a["erase_prob"], "scale": [a["min_area_ratio"], a["max_area_ratio"]], "ratio": ratio}
    if a["mode"] == "const":
        color = a["fill_color"] if isinstance(a["fill_color"], list) else [a["fill_color"]] * 3
        return state.random([{**step, "value": state.colors(color)}], [], "RandomErasing")
    if a["mode"] != "rand":
        raise NoCounterpart("mode const or rand", f"RandomErasing.mode: {show(a['mode'])}")
    # normal noise of the data's mean and deviation before Normalize is standard normal noise behind it
    if a["fill_std"] is None:
        state.notes.append("RandomErasing with uniform noise: normal noise of the data's mean and deviation")
    made = state.random([{**step, "value": "random"}], [], "RandomErasing")
    state.late += made
    return []


# --------------------------------------------------------------------------------------------------- augmentation policies


def _policy(policy: Mapping[str, Any], hparams: Mapping[str, Any], state: Pipeline) -> dict[str, Any]:
    """One operation of a policy: `type` as `name`, what hparams says where the policy itself says nothing, colors as RGB."""
    name = policy["type"]
    if name not in OPERATIONS:
        raise NoCounterpart(one_of(OPERATIONS, len(OPERATIONS)), f"the policy {name}", did_you_mean(name, OPERATIONS))
    own, *options = OPERATIONS[name]
    known = [own, *options, "prob", "magnitude_key", "magnitude_range"]
    made = {**{key: value for key, value in hparams.items() if key in options}, **{k: v for k, v in policy.items() if k != "type"}}
    for key in made:
        if key not in known:
            raise NoCounterpart(one_of(known), f"{name}.{key}", did_you_mean(key, known))
    if made.pop("magnitude_key", own) != own:
        raise NoCounterpart(f"magnitude_key {own}", f"{name}.magnitude_key: {show(policy['magnitude_key'])}")
    if isinstance(made.get(own), list):
        raise NoCounterpart("a number", f"{name}.{own}: {show(made[own])}")
    if "pad_val" in made:
        made["pad_val"] = state.colors(made["pad_val"])
    return {"name": name, **made}


def _rand_augment(a: Arguments, state: Pipeline) -> Steps:
    if not isinstance(a["policies"], list) or not a["policies"]:
        raise NoCounterpart("a list of policies, dict(type=..., magnitude_range=...)", f"RandAugment.policies: {show(a['policies'])}")
    policies = [_policy(policy, a["hparams"], state) for policy in a["policies"]]
    numbers = {key: a[key] for key in ("num_policies", "magnitude_level", "magnitude_std", "total_level")}
    return state.random([{"name": "augment_policies", "policies": policies, **numbers}], [], "RandAugment")


def _auto_augment(a: Arguments, state: Pipeline) -> Steps:
    if not isinstance(a["policies"], list) or not all(isinstance(sub, list) for sub in a["policies"]):
        hint = "or {name: auto_augment, policy: imagenet}"
        raise NoCounterpart("a list of lists of policies", f"AutoAugment.policies: {show(a['policies'])}", hint)
    policies = [[_policy(policy, a["hparams"], state) for policy in sub] for sub in a["policies"]]
    return state.random([{"name": "augment_policies", "policies": policies, "num_policies": 1}], [], "AutoAugment")


def _operation(name: str) -> Callable[[Arguments, Pipeline], Steps]:
    """A policy's operation that stands in the pipeline by itself."""

    def convert(a: Arguments, state: Pipeline) -> Steps:
        policy = _policy({"type": name, **{key: value for key, value in a.items() if value is not None}}, {}, state)
        return state.random([{"name": "augment_policies", "policies": [policy], "num_policies": 1}], [], name)

    return convert


def _albu(a: Arguments, state: Pipeline) -> Steps:
    hint = "albumentations is not used here; name steps that do the same with data.transforms.train=[...]"
    raise NoCounterpart("steps that are here", "Albu", hint)


def _half(a: Arguments, state: Pipeline) -> Steps:
    state.notes.append("ToHalf is not needed: train.precision=fp16 computes in it")
    return []


def _nothing(a: Arguments, state: Pipeline) -> Steps:
    return []  # how arrays become tensors and which are handed on: here they always are


_NEGATIVE = "random_negative_prob"
_PADDED = ("pad_val", "interpolation", _NEGATIVE)
# the operations of policies: what each one's magnitude is called (empty: it has none), and what else it may be told beside prob
OPERATIONS: dict[str, tuple[str, ...]] = {
    "AutoContrast": ("",),
    "Equalize": ("",),
    "Invert": ("",),
    "Rotate": ("angle", *_PADDED),
    "Posterize": ("bits",),
    "Solarize": ("thr",),
    "SolarizeAdd": ("magnitude", "thr"),
    "ColorTransform": ("magnitude", _NEGATIVE),
    "Contrast": ("magnitude", _NEGATIVE),
    "Brightness": ("magnitude", _NEGATIVE),
    "Sharpness": ("magnitude", _NEGATIVE),
    "Shear": ("magnitude", "direction", *_PADDED),
    "Translate": ("magnitude", "direction", *_PADDED),
    "Cutout": ("shape", "pad_val"),
}

_HPARAMS = {"pad_val": 128}
_ANY: dict[str, Any] = {"keys": None, "meta_keys": None, "order": None, "dtype": None}

# type -> what converts it, and its arguments with their defaults (...: must be given)
STEPS: dict[str, tuple[Callable[[Arguments, Pipeline], Steps], dict[str, Any]]] = {
    "LoadImageFromFile": (_load, {"to_float32": False, "color_type": "color", "file_client_args": None, "imdecode_backend": None}),
    "RandomCrop": (_random_crop, {"size": ..., "padding": None, "pad_if_needed": False, "pad_val": 0, "padding_mode": "constant"}),
    "RandomResizedCrop": (
        _random_resized_crop,
        {
            "size": ..., "scale": [0.08, 1.0], "ratio": [3 / 4, 4 / 3], "max_attempts": 10, "efficientnet_style": False, "min_covered": 0.1,
            "crop_padding": 32, "interpolation": "bilinear", "backend": "cv2",
        },
    ),
    "RandomGrayscale": (_grayscale, {"gray_prob": 0.1}),
    "RandomFlip": (_random_flip, {"flip_prob": 0.5, "direction": "horizontal"}),
    "RandomErasing": (
        _erasing,
        {
            "erase_prob": 0.5, "min_area_ratio": 0.02, "max_area_ratio": 0.4, "aspect_range": [3 / 10, 10 / 3], "mode": "const",
            "fill_color": [128, 128, 128], "fill_std": None,
        },
    ),
    "Pad": (_pad, {"size": None, "pad_to_square": False, "pad_val": 0, "padding_mode": "constant"}),
    "Resize": (_resize, {"size": ..., "interpolation": "bilinear", "adaptive_side": "short", "backend": "cv2"}),
    "CenterCrop": (
        _center_crop, {"crop_size": ..., "efficientnet_style": False, "crop_padding": 32, "interpolation": "bilinear", "backend": "cv2"}
    ),
    "Normalize": (_normalize, {"mean": ..., "std": ..., "to_rgb": True}),
    "ColorJitter": (_color_jitter, {"brightness": ..., "contrast": ..., "saturation": ...}),
    "Lighting": (_lighting, {"eigval": ..., "eigvec": ..., "alphastd": 0.1, "to_rgb": True}),
    "Albu": (_albu, {"transforms": ..., "keymap": None, "update_pad_shape": False}),
    "AutoAugment": (_auto_augment, {"policies": ..., "hparams": _HPARAMS}),
    "RandAugment": (
        _rand_augment,
        {"policies": ..., "num_policies": ..., "magnitude_level": ..., "magnitude_std": 0.0, "total_level": 30, "hparams": _HPARAMS},
    ),
    **{name: (_operation(name), {**{key: None for key in known if key}, "prob": None}) for name, known in OPERATIONS.items()},
    "ToTensor": (_nothing, _ANY),
    "ImageToTensor": (_nothing, _ANY),
    "Transpose": (_nothing, _ANY),
    "ToPIL": (_nothing, _ANY),
    "ToNumpy": (_nothing, _ANY),
    "Collect": (_nothing, _ANY),
    "WrapFieldsToLists": (_nothing, _ANY),
    "ToHalf": (_half, _ANY),
    "Compose": (_nothing, {"transforms": ...}),
}  # fmt: skip
