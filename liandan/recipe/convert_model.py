"""model_cfg, and what data_cfg says of weights and freezing -> the recipe's `model`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from .backbones import BACKBONES, PASSED, SAME, Family, Value
from .convert_section import Section, Tell
from .document import Node, plant
from .faults import Fault, RecipeError, did_you_mean, one_of, show

_SHORT = {
    "t": "tiny", "s": "small", "m": "medium", "b": "base", "l": "large", "h": "huge", "g": "giant",
    "deit-t": "deit-tiny", "deit-s": "deit-small", "deit-b": "deit-base",
}  # fmt: skip
_NECKS = ("GlobalAveragePooling", "HRFuseScales")
# What each head is told that the named model's own has built in, at the values listed (None: at any).
_HEAD_ALWAYS = dict.fromkeys(("num_classes", "in_channels", "loss", "topk", "cal_acc"))
_HEADS: dict[str, dict[str, tuple[Any, ...] | None]] = {
    "ClsHead": {},
    "LinearClsHead": {},
    "StackedLinearClsHead": {"mid_channels": ([1024], [1280]), "dropout_rate": (0.2,), "act_cfg": None, "norm_cfg": (None,)},
    "VisionTransformerClsHead": {"act_cfg": None},
    "DeiTClsHead": {},
    "EfficientFormerClsHead": {"distillation": (True,)},
    "ConformerHead": {},
    "LeViTClsHead": {"distillation": (True,)},
}
_CONTROL = set("\a\b\f\n\r\t\v")


@dataclass(frozen=True)
class Variants:
    """rows: the arguments of each variant, and its `model`. why: why there is none, or what some of them lack."""

    rows: list[dict[str, Any]]
    why: str


def variants(kind: str) -> Variants:
    """Which model each variant of a backbone type is. Raises RecipeError for a type that is not known."""
    if kind not in BACKBONES:
        raise RecipeError([Fault("", kind, one_of(BACKBONES, len(BACKBONES)), kind, did_you_mean(kind, BACKBONES))])
    family = BACKBONES[kind]
    rows = []
    for key, variant in family.variants.items():
        name, arguments = variant if isinstance(variant, tuple) else (variant, {})
        given = ", ".join(f"{argument}={value}" for argument, value in arguments.items())
        rows.append({**dict(zip(family.by, key, strict=True)), "model": f"{name}, {given}" if given else name})
    return Variants(rows, family.why)


def model(tell: Tell, whole: Section, gray: bool) -> dict[str, Node]:
    """The model's name and arguments. `gray`: images have one channel."""
    backbone = whole.section("backbone")
    if whole.node("train_cfg") is not None:
        tell.note(whole.at("train_cfg"), "model_cfg.train_cfg: ignored there as well; mixup and cutmix are data.transforms.mix")
    whole.taken.add("type")
    for section in (whole, backbone):
        if section.get("init_cfg"):
            tell.inits.append(section.at("init_cfg"))
    kind = tell.choice(backbone, "type", BACKBONES, "model.name")
    found = _variant(tell, kind, backbone) if kind is not None else None
    if kind is None or found is None:
        return {}
    where = backbone.at("type")
    named = {"name": plant(found[0], where), **{name: plant(value, where) for name, value in found[1].items()}}
    named |= {"in_chans": plant(1, where)} if gray else {}
    for name in backbone.left():
        named |= _argument(tell, BACKBONES[kind], backbone, name)
    return named


def head_and_neck(tell: Tell, whole: Section, head: Section) -> None:
    """Both are the named model's own; what they are told otherwise is said."""
    necks = whole.node("neck")
    listed = [] if necks is None or necks.value is None else necks.value if isinstance(necks.value, list) else [necks]
    for neck in listed:
        tell.choice(Section(neck, "model_cfg.neck", whole.where), "type", _NECKS, "model.name")
    if not head.nodes:
        tell.note(whole.at("head"), "model_cfg.head=None: the model gets a classifier, and cross entropy is its loss")
        return
    kind = tell.choice(head, "type", _HEADS, "model.name")
    if head.get("init_cfg"):
        tell.inits.append(head.at("init_cfg"))
    if "num_classes" in head.nodes:
        tell.note(head.at("num_classes"), f"{head.said('num_classes')}: the model gets an output for each class of the data")
    built_in = {**_HEAD_ALWAYS, **_HEADS.get(kind or "", {})}
    for name in head.left():
        if not _is_built_in(built_in, name, head.get(name)):
            tell.note(head.at(name), f"{head.said(name)}: not taken over, the named model has its own head")


def weights(tell: Tell, train: Section) -> dict[str, Node]:
    """model.weights: the file, when the config says that it shall be loaded."""
    name, flag = "pretrained_weights", train.get("pretrained_flag", False)
    path, where = train.get(name), train.at(name)
    if not flag:
        if path:
            tell.note(where, f"{train.said(name)}: not loaded, because pretrained_flag is False; model.weights=... loads it")
        return {"weights": plant("none", train.at("pretrained_flag"))}
    expected = "the path of a weights file, because pretrained_flag is True"
    if not isinstance(path, str) or not path:
        hint = "give the file with model.weights=<path>, or start from scratch with model.weights=none"
        tell.fault("model.weights", where, expected, f"{name}: {show(path)}", hint)
    elif _CONTROL & set(path):
        hint = "Python reads \\t and \\n in '...' as control characters; write the path with / or as r'...'"
        tell.fault("model.weights", where, expected, f"{name}: {show(path)}", hint)
    else:
        return {"weights": plant(path, where)}
    return {}


def freeze(tell: Tell, train: Section) -> dict[str, Node]:
    """model.freeze: freeze_layers, when freeze_flag says so."""
    name, flag = "freeze_layers", train.get("freeze_flag", False)
    layers, where = train.get(name), train.at(name)
    frozen = []
    # ('backbone') is text: the comma that makes it a tuple is easily forgotten
    for part in [] if not flag or not layers else layers if isinstance(layers, list) else [layers]:
        if part == "backbone":
            frozen.append(part)
        elif part == "neck":
            tell.note(where, f"{train.said(name)}: the neck belongs to the backbone here")
        else:
            hint = "name the prefix of its parameters with model.freeze=[...]; `liandan model summary` shows them"
            tell.fault("model.freeze", where, "backbone or neck", f"{name}: {show(part)}", hint)
    return {"freeze": plant(frozen, where)}


def _variant(tell: Tell, kind: str, backbone: Section) -> tuple[str, dict[str, Any]] | None:
    """The name of the model, and the arguments that make it this variant."""
    family = BACKBONES[kind]
    asked = [_path(backbone, key, default) for key, default in family.by.items()]
    table = {_canonical(key): found if isinstance(found, tuple) else (found, {}) for key, found in family.variants.items()}
    wanted = _canonical(asked)
    if wanted in table:
        return table[wanted]
    if "img_size" in family.by:  # the network at another size of images
        at = list(family.by).index("img_size")
        for key, (name, arguments) in table.items():
            if _without(key, at) == _without(wanted, at):
                return name, {**arguments, "img_size": wanted[at]}
    known = f"a variant of {kind} that timm or torchvision has" if table else "a backbone that timm or torchvision has"
    words = ", ".join(f"{key}={value!r}" for key, value in zip(family.by, asked, strict=True))
    hint = family.why or f"known are {' | '.join(', '.join(map(str, key)) for key in family.variants)}"
    tell.fault("model.name", backbone.at("type"), known, f"{kind}({words})", f"{hint}; name another with model.name=...")
    return None


def _argument(tell: Tell, family: Family, backbone: Section, name: str) -> dict[str, Node]:
    """What an argument of the backbone becomes."""
    if _is_built_in({**SAME, **family.same}, name, backbone.get(name)):
        return {}
    targets = family.passed.get(name) or PASSED.get(name)
    if not targets:
        tell.note(backbone.at(name), f"{backbone.said(name)}: not taken over, the named model has its own")
    return {target: backbone.nodes[name] for target in targets or ()}


def _is_built_in(same: Mapping[str, tuple[Any, ...] | None], name: str, value: Any) -> bool:
    values = same.get(name, ())
    return values is None or value in values


def _path(section: Section, key: str, default: Value) -> Any:
    """The value at a dotted key; everything on the way counts as taken."""
    first, *rest = key.split(".")
    value = section.get(first)
    for name in rest:
        value = value.get(name) if isinstance(value, dict) else None
    return default if value is None else value


def _canonical(values: Collection[Any]) -> tuple[Any, ...]:
    """Variants spelled alike: t and tiny, 224 and (224, 224); of several windows the first, from which the others follow."""
    return tuple(_spelled(value[0] if isinstance(value, list) and value else value) for value in values)


def _spelled(value: Any) -> Value:
    if isinstance(value, str):
        return _SHORT.get(value.lower(), value.lower())
    return value if value is None or isinstance(value, int | float) else repr(value)


def _without(values: tuple[Any, ...], at: int) -> tuple[Any, ...]:
    return values[:at] + values[at + 1 :]
