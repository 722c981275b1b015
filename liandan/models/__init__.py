"""Names -> nn.Module. Our own families stand in NAMES; every image classifier of timm and torchvision is there by name as well.

    liandan/<name>                                    files of this room: NAMES
    timm/<name>[.<tag>]                               timm.list_models()
    torchvision/<name>                                torchvision.models.list_models(module=torchvision.models)
    hf/<folder>                                       a model of transformers, on this machine; runtime.weights.local makes such a folder
                                                      of hf/<hub id> and hf/<file>.gguf

Nothing here fetches: a model is built with fresh weights, and `weights.load_weights` fills it from a local file.
Importing this package imports neither torch nor timm nor torchvision.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

Builder = Callable[..., "nn.Module"]

NAMES: dict[str, str] = {
    "liandan/lenet5": "liandan.models.lenet5:LeNet5",
    "liandan/gpt": "liandan.models.gpt:GPT",
    "liandan/text_encoder": "liandan.models.text_encoder:TextEncoder",
    "liandan/dcgan": "liandan.models.dcgan:DCGAN",
    "liandan/mlp": "liandan.models.mlp:MLP",
    "liandan/bn_lenet": "liandan.models.bn_lenet:BNLeNet",
    "liandan/alexnet": "liandan.models.alexnet:AlexNet",
    "liandan/vgg": "liandan.models.vgg:VGG",
    "liandan/nin": "liandan.models.nin:NiN",
    "liandan/googlenet": "liandan.models.googlenet:GoogLeNet",
    "liandan/resnet": "liandan.models.resnet:ResNet",
    "liandan/densenet": "liandan.models.densenet:DenseNet",
}

DEFAULTS: dict[str, dict[str, Any]] = {  # preprocessing; what is absent is measured on the data
    "liandan/lenet5": {"size": 32, "channels": "auto", "crop_pct": 1.0, "interpolation": "bilinear"},
    "liandan/gpt": {},
    "liandan/text_encoder": {},
    "liandan/dcgan": {"size": 32, "channels": "auto", "mean": [0.5], "std": [0.5], "crop_pct": 1.0, "interpolation": "bilinear"},
    "liandan/mlp": {"size": 28, "channels": "auto", "crop_pct": 1.0, "interpolation": "bilinear"},
    "liandan/bn_lenet": {"size": 28, "channels": "auto", "crop_pct": 1.0, "interpolation": "bilinear"},
    "liandan/alexnet": {"size": 224, "channels": "auto", "crop_pct": 1.0, "interpolation": "bilinear"},
    "liandan/vgg": {"size": 224, "channels": "auto", "crop_pct": 1.0, "interpolation": "bilinear"},
    "liandan/nin": {"size": 224, "channels": "auto", "crop_pct": 1.0, "interpolation": "bilinear"},
    "liandan/googlenet": {"size": 96, "channels": "auto", "crop_pct": 1.0, "interpolation": "bilinear"},
    "liandan/resnet": {"size": 96, "channels": "auto", "crop_pct": 1.0, "interpolation": "bilinear"},
    "liandan/densenet": {"size": 96, "channels": "auto", "crop_pct": 1.0, "interpolation": "bilinear"},
}

IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

# Arguments through which a library would fetch or unpickle; weights enter by `weights.load_weights` alone.
_FETCHING = {"pretrained", "weights", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "progress"}

# torchvision's builders fill in what their classes require, and read these from their keywords with defaults of their own.
_TORCHVISION_EXTRA: dict[str, dict[str, Any]] = {
    "vit_*": {"image_size": 224},
    "maxvit_*": {"input_size": (224, 224)},
    "efficientnet_*": {"dropout": 0.2},
}
# Auxiliary classifiers would turn the output into a tuple in training mode only; init_weights unset costs a warning.
_TORCHVISION_FIXED: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


class ModelError(ValueError):
    """A model that cannot be named, built or frozen as asked; the message says what would work."""


def resolve(name: str) -> Builder:
    """The builder of a model, with a signature to check keyword arguments against.

    For timm and torchvision the names in it are those that the model's class takes; the variant may set other values than its defaults.

    Raises:
        ModelError: unknown name (the nearest is named), or the library that has it is not installed.
    """
    if name in NAMES:
        module, attribute = NAMES[name].split(":")
        return getattr(importlib.import_module(module), attribute)
    prefix, _, short = name.partition("/")
    if prefix == "hf":
        return _hugging_face().builder(short)
    if prefix == "timm" and short in _LIBRARIES["timm"](_library("timm", name)):
        return _timm_builder(short)
    if prefix == "timm" and _timm_tagged(short, _library("timm", name)):
        return _timm_builder(short)
    if prefix == "torchvision" and short in _LIBRARIES["torchvision"](_library("torchvision", name)):
        return _torchvision_builder(short)
    raise ModelError(_unknown(name))


def build(name: str, **arguments: Any) -> nn.Module:
    """Build a model with fresh weights.

    Args:
        name: see `names()`.
        arguments: keyword arguments of its builder, for example num_classes, in_chans.

    Raises:
        ModelError: unknown name, or an argument the builder does not take or accept.
    """
    builder = resolve(name)
    parameters = inspect.signature(builder).parameters
    is_open = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for key in arguments:
        if key in _FETCHING:
            raise ModelError(
                f"{name}: {key!r} would fetch weights; a builder never does. Set `model.weights` or call load_weights on a local file."
            )
        if key not in parameters and not is_open:
            near = _nearest(key, parameters)
            raise ModelError(
                f"{name} takes no argument {key!r}{f', did you mean {near!r}' if near else ''}. It takes: {', '.join(parameters)}."
            )
    if lacking := [k for k, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD and k not in arguments]:
        raise ModelError(f"{name} needs {', '.join(lacking)}; received {', '.join(arguments) or 'no arguments'}.")
    try:
        return builder(**arguments)
    except ModelError:
        raise
    except (TypeError, ValueError, AssertionError, KeyError, AttributeError, RuntimeError) as error:
        # Third-party builders fail in many ways on a bad argument; the user needs the name and what was passed.
        raise ModelError(f"{name} could not be built with {arguments}: {type(error).__name__}: {error}") from error


def names(pattern: str | None = None) -> list[str]:
    """Names that can be built here, sorted within each library, filtered by a shell wildcard.

    `timm/*lite0` looks into one library only; a pattern without a slash looks into all. Libraries that are not
    installed are passed over, unless the pattern asks for one of them (ModelError).
    """
    where, slash, _ = (pattern or "").partition("/")
    found = [n for n in NAMES if _matches(n, pattern)]
    for prefix, listing in _LIBRARIES.items():
        if slash and not fnmatchcase(prefix, where):
            continue
        try:
            library = _library(prefix, pattern or prefix)
        except ModelError:
            if where == prefix:
                raise
            continue
        found += [n for n in (f"{prefix}/{short}" for short in listing(library)) if _matches(n, pattern)]
    return found


def accepts(name: str, argument: str) -> bool:
    """Whether the builder of `name` takes `argument` (in_chans, num_classes, vocab_size, img_size, ...)."""
    parameter = inspect.signature(resolve(name)).parameters.get(argument)
    return parameter is not None and parameter.kind is not parameter.VAR_KEYWORD


def defaults(name: str) -> dict[str, Any]:
    """The model's own preprocessing: size (pixels, an int or [height, width]), mean, std (0..1 scale), crop_pct, interpolation, channels.

    A key that is absent is not the model's to say. `channels: "auto"` takes what the images have. Nothing is fetched.
    """
    if name in DEFAULTS:
        return dict(DEFAULTS[name])
    resolve(name)  # unknown names fail here, with the nearest
    prefix, _, short = name.partition("/")
    if prefix == "hf":
        return _hugging_face().defaults(Path(short))
    return _timm_defaults(short) if prefix == "timm" else _torchvision_defaults(short)


def _hugging_face() -> ModuleType:
    return importlib.import_module("liandan.models.huggingface")


def _nearest(word: str, choices: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, list(choices), n=1)), None)


def _matches(name: str, pattern: str | None) -> bool:
    return pattern is None or fnmatchcase(name, pattern) or ("/" not in pattern and fnmatchcase(name.partition("/")[2], pattern))


def _unknown(name: str) -> str:
    prefix, slash, short = name.partition("/")
    everything = names()
    by_short: dict[str, list[str]] = {}
    for n in everything:
        by_short.setdefault(n.partition("/")[2], []).append(n)
    word = short if slash else name
    near = by_short.get(word) or difflib.get_close_matches(name, everything, n=3, cutoff=0.75)
    near = near or [n for w in difflib.get_close_matches(word, by_short, n=1) for n in by_short[w]]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    if slash and prefix not in {"liandan", *_LIBRARIES}:
        hint += f" A name starts with liandan/, hf/, {'/, '.join(_LIBRARIES)}/."
    return f"no model {name!r}.{hint} `liandan model list` shows them all."


def _library(prefix: str, name: str) -> ModuleType:
    """timm or torchvision.models, or an error that names the extra to install."""
    try:
        return importlib.import_module("timm" if prefix == "timm" else "torchvision.models")
    except ImportError as error:
        raise ModelError(f'{name} needs {prefix}, which cannot be imported here ({error}): pip install "liandan[vision]"') from error


def _timm_tagged(short: str, timm: Any) -> bool:
    """resnet18.a1_in1k: an architecture and the tag of a set of weights (its preprocessing goes with it)."""
    architecture, dot, _ = short.partition(".")
    return bool(dot) and timm.is_model(architecture) and short in timm.list_models(f"{architecture}.*", pretrained=True)


_LIBRARIES: dict[str, Callable[[Any], list[str]]] = {
    "timm": lambda timm: timm.list_models(),
    # Without `module` this lists segmentation, detection, video and quantized builders too.
    "torchvision": lambda models: models.list_models(module=models),
}


def _named(function: Builder, name: str, parameters: Mapping[str, inspect.Parameter]) -> Builder:
    ordered = sorted(parameters.values(), key=lambda p: p.kind)
    setattr(function, "__signature__", inspect.Signature(ordered))  # noqa: B010  (a function has no such declared attribute)
    function.__name__ = function.__qualname__ = name
    return function


def _class_parameters(cls: Any) -> tuple[dict[str, inspect.Parameter], bool]:
    """Keyword parameters of a class, its bases included while it passes **kwargs on, and whether any other keyword is taken as well.

    What has no default is the library's to fill in. A builder whose class is not declared takes anything, as far as can be known.
    """
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__ if isinstance(cls, type) else ():
        own = vars(base).get("__init__")
        if not inspect.isfunction(own):
            continue
        parameters = list(inspect.signature(own).parameters.values())[1:]
        for p in parameters:
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.default is not p.empty and p.name not in _FETCHING:
                found.setdefault(p.name, p.replace(kind=p.KEYWORD_ONLY, annotation=p.empty))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return found, False
    return found, True


def _keyword(name: str, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)


def _timm_builder(short: str) -> Builder:
    timm: Any = _library("timm", f"timm/{short}")

    def builder(**arguments: Any) -> nn.Module:
        return timm.create_model(short, pretrained=False, **arguments)

    entry = timm.model_entrypoint(short.partition(".")[0])
    parameters, is_open = _class_parameters(typing.get_type_hints(entry).get("return"))
    for name, default in {"num_classes": 1000, "in_chans": 3}.items():
        parameters.setdefault(name, _keyword(name, default))
    if hasattr(inspect.getmodule(entry), "resolve_bn_args"):  # these families read BatchNorm arguments before their class sees them
        for name in ("bn_momentum", "bn_eps"):
            parameters.setdefault(name, _keyword(name, None))
    if is_open:
        parameters["arguments"] = inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)
    return _named(builder, short, parameters)


def _torchvision_builder(short: str) -> Builder:
    models = _library("torchvision", f"torchvision/{short}")
    entry = models.get_model_builder(short)
    fixed = _TORCHVISION_FIXED.get(short, {})

    def builder(**arguments: Any) -> nn.Module:
        return entry(weights=None, progress=False, **fixed, **arguments)

    parameters, _ = _class_parameters(typing.get_type_hints(entry).get("return"))
    parameters = {k: p for k, p in parameters.items() if k not in fixed}
    for pattern, extra in _TORCHVISION_EXTRA.items():
        if fnmatchcase(short, pattern):
            parameters |= {k: _keyword(k, v) for k, v in extra.items()}
    return _named(builder, short, parameters)


def _timm_defaults(short: str) -> dict[str, Any]:
    config = _library("timm", f"timm/{short}").get_pretrained_cfg(short)
    channels, height, width = config.input_size
    return {
        "size": height if height == width else [height, width],
        "mean": list(config.mean),
        "std": list(config.std),
        "crop_pct": config.crop_pct,
        "interpolation": config.interpolation,
        "channels": channels,
    }


def _torchvision_defaults(short: str) -> dict[str, Any]:
    models = _library("torchvision", f"torchvision/{short}")
    found = {"size": 224, "mean": IMAGENET_MEAN, "std": IMAGENET_STD, "crop_pct": 224 / 256, "interpolation": "bilinear", "channels": 3}
    try:
        preset = models.get_model_weights(short).DEFAULT.transforms()
    except (ValueError, AttributeError):  # a builder that never had weights
        return found
    size, resize = preset.crop_size[0], preset.resize_size[0]
    return found | {
        "size": size,
        "mean": list(preset.mean),
        "std": list(preset.std),
        "crop_pct": size / resize,
        "interpolation": preset.interpolation.value,
    }
