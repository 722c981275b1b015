"""Names of tensors in other programs' checkpoints, and the same tensors' names in timm's models.

A family is known by names that only its files have, never by the file's own name. Each says, for a model that is built, what it calls
the model's tensors; the values stay as they are, but for one order of channels (`_merged`). Where a family computes otherwise than a
model of the same names and shapes (TensorFlow's padding, another epsilon), `Family.quarrel` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Pairs = Iterator[tuple[str, str]]  # module of ours, module of theirs


@dataclass(frozen=True)
class Manner:
    """How the EfficientNets of a family compute, where names and shapes do not tell."""

    eps: float  # of BatchNorm
    same_padding: bool  # TensorFlow's SAME: uneven where the stride is 2

    @staticmethod
    def of(model: nn.Module) -> Manner:
        norm = next((m for m in model.modules() if isinstance(m, nn.BatchNorm2d)), None)
        return Manner(norm.eps if norm else 0.0, any(type(m).__name__ == "Conv2dSame" for m in model.modules()))


@dataclass(frozen=True)
class Family:
    """The files of one program and one kind of network.

    Attributes:
        title: for messages.
        marks: names that together only such files have.
        names: their tensor names -> ours, for a built model; empty for a model of another kind.
        candidates: models of ours that such a file may hold, the commonest first.
        manner: how the network in a file computes, where that is to be checked.
        value: (our name, their tensor) -> our tensor, of the same shape.
    """

    title: str
    marks: tuple[str, ...]
    names: Callable[[nn.Module], dict[str, str]]
    candidates: tuple[str, ...]
    manner: Callable[[Mapping[str, Tensor]], Manner] | None = None
    value: Callable[[str, Tensor], Tensor] = lambda name, tensor: tensor

    def quarrel(self, found: Mapping[str, Tensor], model: nn.Module) -> str:
        """In what the model computes otherwise than the network in the file, although names and shapes agree; empty: in nothing."""
        if self.manner is None:
            return ""
        theirs, ours = self.manner(found), Manner.of(model)
        faults = []
        if theirs.same_padding != ours.same_padding:
            words = {True: "TensorFlow's SAME padding", False: "symmetric padding"}
            faults.append(f"{words[theirs.same_padding]} where the model has {words[ours.same_padding]}")
        if theirs.eps != ours.eps:
            faults.append(f"a BatchNorm epsilon of {theirs.eps:g} where the model has {ours.eps:g}")
        return " and ".join(faults)

    def remedy(self, found: Mapping[str, Tensor]) -> str:
        """What to set where another epsilon is not the model's default."""
        manner = self.manner(found) if self.manner else None
        return f"Set `model.bn_eps={manner.eps:g}`. " if manner and not manner.same_padding and manner.eps != 1e-5 else ""


def recognize(found: Iterable[str], own: Iterable[str]) -> Family | None:
    """The family that a file's names belong to; None for names that are the model's own, or nobody's we know."""
    theirs, ours = set(found), set(own)
    return next((f for f in FAMILIES if theirs.issuperset(f.marks) and not ours.issuperset(f.marks)), None)


# ------------------------------------------------------------------------------------------------- inverted residuals, block by block

# A block's convolutions in their order: what it does, its name in timm, the name of the normalization after it.
_BLOCKS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "DepthwiseSeparableConv": (("depthwise", "conv_dw", "bn1"), ("project", "conv_pw", "bn2")),
    "InvertedResidual": (("expand", "conv_pw", "bn1"), ("depthwise", "conv_dw", "bn2"), ("project", "conv_pwl", "bn3")),
    "EdgeResidual": (("fused", "conv_exp", "bn1"), ("reduce", "conv_pwl", "bn2")),
    "ConvBnAct": (("fused", "conv", "bn1"),),
}
_SQUEEZE = ("se.conv_reduce", "se.conv_expand")


def _by_modules(pairs: Callable[[Any], Pairs]) -> Callable[[nn.Module], dict[str, str]]:
    """Tensor names from module names, for models built as timm builds its EfficientNets."""

    def names(model: Any) -> dict[str, str]:
        if not hasattr(model, "conv_stem") or any(type(block).__name__ not in _BLOCKS for stage in model.blocks for block in stage):
            return {}
        theirs = dict(pairs(model))
        modules = ((ours, *ours.rpartition(".")) for ours in model.state_dict())
        return {f"{theirs[module]}.{leaf}": ours for ours, module, _, leaf in modules if module in theirs}

    return names


def _squeezes(block: nn.Module) -> bool:
    return isinstance(getattr(block, "se", None), nn.Module) and hasattr(block.se, "conv_reduce")


def _mm_efficientnet(model: Any) -> Pairs:
    """mmpretrain and Awesome-Backbones: a stage that keeps the resolution goes on in the layer of the stage before it."""
    calls = {"expand": "expand_conv", "depthwise": "depthwise_conv", "project": "linear_conv", "fused": "conv1", "reduce": "conv2"}
    yield from (("conv_stem", "backbone.layers.0.conv"), ("bn1", "backbone.layers.0.bn"))
    layer = place = 0
    for s, stage in enumerate(model.blocks):
        if s == 0 or any(max(m.stride) > 1 for m in stage.modules() if isinstance(m, nn.Conv2d)):
            layer, place = layer + 1, 0
        for j, block in enumerate(stage):
            ours, theirs = f"blocks.{s}.{j}", f"backbone.layers.{layer}.{place}"
            for role, conv, norm in _BLOCKS[type(block).__name__]:
                yield f"{ours}.{conv}", f"{theirs}.{calls[role]}.conv"
                yield f"{ours}.{norm}", f"{theirs}.{calls[role]}.bn"
            yield from ((f"{ours}.{conv}", f"{theirs}.se.conv{i}.conv") for i, conv in enumerate(_SQUEEZE, 1))
            place += 1
    last = f"backbone.layers.{layer + 1}"
    yield from (("conv_head", f"{last}.conv"), ("bn2", f"{last}.bn"), ("classifier", "head.fc"))


def _mm_mobilenet_v2(model: Any) -> Pairs:
    yield from (("conv_stem", "backbone.conv1.conv"), ("bn1", "backbone.conv1.bn"))
    for s, stage in enumerate(model.blocks):
        for j, block in enumerate(stage):
            for k, (_, conv, norm) in enumerate(_BLOCKS[type(block).__name__]):
                yield f"blocks.{s}.{j}.{conv}", f"backbone.layer{s + 1}.{j}.conv.{k}.conv"
                yield f"blocks.{s}.{j}.{norm}", f"backbone.layer{s + 1}.{j}.conv.{k}.bn"
    yield from (("conv_head", "backbone.conv2.conv"), ("bn2", "backbone.conv2.bn"), ("classifier", "head.fc"))


def _lukemelas(model: Any) -> Pairs:
    """efficientnet_pytorch of L. Melas-Kyriazi and the packages made from it: blocks are counted through all stages."""
    calls = {"expand": ("_expand_conv", "_bn0"), "depthwise": ("_depthwise_conv", "_bn1"), "project": ("_project_conv", "_bn2")}
    yield from (("conv_stem", "_conv_stem"), ("bn1", "_bn0"), ("conv_head", "_conv_head"), ("bn2", "_bn1"), ("classifier", "_fc"))
    named = ((f"blocks.{s}.{j}", block) for s, stage in enumerate(model.blocks) for j, block in enumerate(stage))
    for n, (ours, block) in enumerate(named):
        for role, conv, norm in _BLOCKS[type(block).__name__]:
            if role in calls:
                yield f"{ours}.{conv}", f"_blocks.{n}.{calls[role][0]}"
                yield f"{ours}.{norm}", f"_blocks.{n}.{calls[role][1]}"
        yield from ((f"{ours}.{conv}", f"_blocks.{n}.{name}") for conv, name in zip(_SQUEEZE, ("_se_reduce", "_se_expand"), strict=True))


def _torchvision_efficientnet(model: Any) -> Pairs:
    """Everything is numbered; squeeze-and-excitation counts as the last but one of a block."""
    yield from (("conv_stem", "features.0.0"), ("bn1", "features.0.1"))
    for s, stage in enumerate(model.blocks):
        for j, block in enumerate(stage):
            ours, theirs = f"blocks.{s}.{j}", f"features.{s + 1}.{j}.block"
            parts: list[tuple[str, str] | None] = [(conv, norm) for _, conv, norm in _BLOCKS[type(block).__name__]]
            if _squeezes(block):
                parts.insert(-1, None)
            for k, part in enumerate(parts):
                names, leaves = (part, ("0", "1")) if part else (_SQUEEZE, ("fc1", "fc2"))
                yield from ((f"{ours}.{name}", f"{theirs}.{k}.{leaf}") for name, leaf in zip(names, leaves, strict=True))
    head = f"features.{len(model.blocks) + 1}"
    yield from (("conv_head", f"{head}.0"), ("bn2", f"{head}.1"), ("classifier", "classifier.1"))


def _tensorflow_manner(found: Mapping[str, Tensor]) -> Manner:
    """Converted from TensorFlow, or trained in a network built like those."""
    return Manner(1e-3, same_padding=True)


def _torchvision_manner(found: Mapping[str, Tensor]) -> Manner:
    """B0 to B4 have PyTorch's epsilon; B5 to B7 and V2, which are those of 39 blocks and more, have TensorFlow's."""
    blocks = sum(re.fullmatch(r"features\.\d+\.\d+\.block\.0\.0\.weight", name) is not None for name in found)
    return Manner(1e-5 if blocks < 39 else 1e-3, same_padding=False)


# ------------------------------------------------------------------------------------------------------------- by rules on the names


def _by_rules(*rules: tuple[str, str]) -> Callable[[nn.Module], dict[str, str]]:
    """(beginning of our name, what stands there in theirs); every rule that fits makes a name, so that there may be two for a tensor."""
    compiled = [(re.compile(ours), theirs) for ours, theirs in rules]

    def names(model: nn.Module) -> dict[str, str]:
        matches = ((ours, pattern.match(ours), theirs) for ours in model.state_dict() for pattern, theirs in compiled)
        return {m.expand(theirs) + ours[m.end() :]: ours for ours, m, theirs in matches if m}

    return names


# ResNet; -C and -D have three convolutions at the beginning, -D pools in its shortcuts, the first of which mmpretrain leaves out.
_MM_RESNET = (
    (r"fc\.", "head.fc."),
    (r"(layer\d\.\d+)\.se\.fc(\d)", r"backbone.\1.se_layer.conv\2.conv"),
    (r"(?!fc\.|conv1\.\d|layer\d\.\d+\.se\.|layer1\.0\.downsample)", "backbone."),
    *((rf"conv1\.{3 * i}\.", f"backbone.stem.{i}.conv.") for i in range(3)),
    *((rf"conv1\.{3 * i + 1}\.", f"backbone.stem.{i}.bn.") for i in range(2)),
    (r"bn1\.", "backbone.stem.2.bn."),
)
_mm_resnet_c = _by_rules(*_MM_RESNET, (r"layer1\.0\.downsample\.", "backbone.layer1.0.downsample."))
_mm_resnet_d = _by_rules(*_MM_RESNET, *((rf"layer1\.0\.downsample\.{i + 1}\.", f"backbone.layer1.0.downsample.{i}.") for i in range(2)))


def _mm_resnet(model: nn.Module) -> dict[str, str]:
    pools = "layer1.0.downsample.2.weight" in model.state_dict()
    return _mm_resnet_d(model) if pools else _mm_resnet_c(model)


_mm_vit = _by_rules(
    (r"(cls_token|dist_token|pos_embed)", r"backbone.\1"),
    (r"patch_embed\.proj\.", "backbone.patch_embed.projection."),
    (r"blocks\.(\d+)\.norm(\d)\.", r"backbone.layers.\1.ln\2."),
    (r"blocks\.(\d+)\.attn\.", r"backbone.layers.\1.attn."),
    (r"blocks\.(\d+)\.mlp\.fc1\.", r"backbone.layers.\1.ffn.layers.0.0."),
    (r"blocks\.(\d+)\.mlp\.fc2\.", r"backbone.layers.\1.ffn.layers.1."),
    (r"norm\.", "backbone.ln1."),
    (r"(head|head_dist)\.", r"head.layers.\1."),
)
_mm_convnext = _by_rules(
    (r"stem\.(\d)\.", r"backbone.downsample_layers.0.\1."),
    (r"stages\.(\d)\.downsample\.(\d)\.", r"backbone.downsample_layers.\1.\2."),
    (r"stages\.(\d)\.blocks\.(\d+)\.conv_dw\.", r"backbone.stages.\1.\2.depthwise_conv."),
    (r"stages\.(\d)\.blocks\.(\d+)\.(norm\.|gamma)", r"backbone.stages.\1.\2.\3"),
    (r"stages\.(\d)\.blocks\.(\d+)\.mlp\.fc(\d)\.", r"backbone.stages.\1.\2.pointwise_conv\3."),
    (r"head\.norm\.", "backbone.norm3."),
    (r"head\.fc\.", "head.fc."),
)
_mm_swin = _by_rules(
    (r"patch_embed\.proj\.", "backbone.patch_embed.projection."),
    (r"patch_embed\.norm\.", "backbone.patch_embed.norm."),
    (r"layers\.(\d)\.blocks\.(\d+)\.norm(\d)\.", r"backbone.stages.\1.blocks.\2.norm\3."),
    (r"layers\.(\d)\.blocks\.(\d+)\.attn\.", r"backbone.stages.\1.blocks.\2.attn.w_msa."),
    (r"layers\.(\d)\.blocks\.(\d+)\.mlp\.fc1\.", r"backbone.stages.\1.blocks.\2.ffn.layers.0.0."),
    (r"layers\.(\d)\.blocks\.(\d+)\.mlp\.fc2\.", r"backbone.stages.\1.blocks.\2.ffn.layers.1."),
    # the layer before a merging owns it
    *((rf"layers\.{i + 1}\.downsample\.", f"backbone.stages.{i}.downsample.") for i in range(3)),
    (r"norm\.", "backbone.norm3."),
    (r"head\.fc\.", "head.fc."),
)


def _merged(name: str, tensor: Tensor) -> Tensor:
    """Swin's patch merging: theirs counts channel, row, column; ours column, row, channel (the last dimension, of four channels each)."""
    return tensor.unflatten(-1, (-1, 2, 2)).transpose(-1, -3).flatten(-3) if ".downsample." in name else tensor


_torchvision_vit = _by_rules(
    (r"cls_token", "class_token"),
    (r"pos_embed", "encoder.pos_embedding"),
    (r"patch_embed\.proj\.", "conv_proj."),
    (r"blocks\.(\d+)\.norm(\d)\.", r"encoder.layers.encoder_layer_\1.ln_\2."),
    (r"blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.encoder_layer_\1.self_attention.in_proj_"),
    (r"blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.encoder_layer_\1.self_attention.out_proj."),
    (r"blocks\.(\d+)\.mlp\.fc1\.", r"encoder.layers.encoder_layer_\1.mlp.0."),
    (r"blocks\.(\d+)\.mlp\.fc2\.", r"encoder.layers.encoder_layer_\1.mlp.3."),
    (r"blocks\.(\d+)\.mlp\.fc(\d)\.", r"encoder.layers.encoder_layer_\1.mlp.linear_\2."),  # as the published files were written
    (r"norm\.", "encoder.ln."),
    (r"head\.", "heads.head."),
)


def _timm(*names: str) -> tuple[str, ...]:
    return tuple(f"timm/{name}" for name in names)


_RESNETS = _timm(
    "resnet50", "resnet18", "resnet34", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x4d", "resnext101_32x8d",
    "wide_resnet50_2", "seresnet50", "seresnet101", "resnet50c", "resnet101c", "resnet50d", "resnet101d", "resnet152d",
)  # fmt: skip
_VITS = _timm(
    "vit_base_patch16_224", "vit_base_patch32_224", "vit_large_patch16_224", "vit_large_patch32_224", "vit_small_patch16_224",
    "vit_tiny_patch16_224", "vit_base_patch16_384", "vit_base_patch32_384", "vit_large_patch16_384",
)  # fmt: skip
_TF_EFFICIENTNETS = _timm(*(f"tf_efficientnet_b{i}" for i in range(9)))

FAMILIES: tuple[Family, ...] = (
    Family(
        "EfficientNet as mmpretrain and Awesome-Backbones name it",
        ("backbone.layers.0.conv.weight", "backbone.layers.1.0.depthwise_conv.conv.weight"),
        _by_modules(_mm_efficientnet),
        _TF_EFFICIENTNETS,
        _tensorflow_manner,
    ),
    Family(
        "EfficientNet-EdgeTPU as mmpretrain names it",
        ("backbone.layers.0.conv.weight", "backbone.layers.1.0.conv1.conv.weight"),
        _by_modules(_mm_efficientnet),
        _timm("tf_efficientnet_es", "tf_efficientnet_em", "tf_efficientnet_el"),
        _tensorflow_manner,
    ),
    Family(
        "EfficientNet as efficientnet_pytorch names it",
        ("_conv_stem.weight", "_blocks.0._depthwise_conv.weight", "_conv_head.weight"),
        _by_modules(_lukemelas),
        _TF_EFFICIENTNETS + _timm(*(f"tf_efficientnet_lite{i}" for i in range(5))),
        _tensorflow_manner,
    ),
    Family(
        "EfficientNet as torchvision names it",
        ("features.0.0.weight", "features.1.0.block.0.0.weight", "classifier.1.weight"),
        _by_modules(_torchvision_efficientnet),
        _timm(*(f"efficientnet_b{i}" for i in range(8)), "efficientnetv2_s", "efficientnetv2_m", "efficientnetv2_l"),
        _torchvision_manner,
    ),
    Family(
        "Vision Transformer as torchvision names it",
        ("conv_proj.weight", "encoder.layers.encoder_layer_0.ln_1.weight"),
        _torchvision_vit,
        _VITS,
    ),
    Family(
        "MobileNetV2 as mmpretrain and Awesome-Backbones name it",
        ("backbone.conv1.conv.weight", "backbone.layer1.0.conv.0.conv.weight"),
        _by_modules(_mm_mobilenet_v2),
        _timm("mobilenetv2_100", "mobilenetv2_140"),
    ),
    Family(
        "ResNet as mmpretrain and Awesome-Backbones name it",
        ("backbone.layer1.0.conv1.weight", "backbone.layer4.0.conv1.weight"),
        _mm_resnet,
        _RESNETS,
    ),
    Family(
        "Vision Transformer as mmpretrain and Awesome-Backbones name it",
        ("backbone.patch_embed.projection.weight", "backbone.layers.0.ffn.layers.0.0.weight"),
        _mm_vit,
        _VITS + _timm(*(f"deit_{size}_distilled_patch16_224" for size in ("tiny", "small", "base"))),
    ),
    Family(
        "Swin Transformer as mmpretrain and Awesome-Backbones name it",
        ("backbone.patch_embed.projection.weight", "backbone.stages.0.blocks.0.attn.w_msa.qkv.weight"),
        _mm_swin,
        _timm(*(f"swin_{size}_patch4_window7_224" for size in ("tiny", "small", "base", "large"))),
        value=_merged,
    ),
    Family(
        "ConvNeXt as mmpretrain and Awesome-Backbones name it",
        ("backbone.downsample_layers.0.0.weight", "backbone.stages.0.0.depthwise_conv.weight"),
        _mm_convnext,
        _timm("convnext_tiny", "convnext_small", "convnext_base", "convnext_large", "convnext_xlarge"),
    ),
)
