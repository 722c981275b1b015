"""Which architecture a file's tensors belong to, told by their names and shapes. For error messages: it builds the candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from liandan import models
from liandan.models.freeze import classifiers
from liandan.models.translate import FAMILIES, Family

_RESNETS = (*(f"resnet{n}" for n in (18, 26, 34, 50, 101, 152)), "resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2")
_INVERTED = (
    *(f"efficientnet_b{i}" for i in range(8)), *(f"tf_efficientnet_lite{i}" for i in range(5)), "efficientnetv2_s", "efficientnetv2_m",
    "mobilenetv2_100", "mobilenetv3_small_100", "mobilenetv3_large_100",
)  # fmt: skip
_VITS = ("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224", "vit_base_patch32_224", "vit_large_patch16_224")
_SWINS = ("swin_tiny_patch4_window7_224", "swin_small_patch4_window7_224", "swin_base_patch4_window7_224")
_VGGS = ("alexnet", *(f"vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "_bn")))

# Names that together tell the kind of network in timm's or torchvision's own names, and its commonest sizes.
_SIGNS: tuple[tuple[tuple[str, ...], str, tuple[str, ...]], ...] = (
    (("layer1.0.conv1.weight", "fc.weight"), "timm", _RESNETS),
    (("conv_stem.weight", "blocks.0.0.bn1.weight"), "timm", _INVERTED),
    (("patch_embed.proj.weight", "blocks.0.attn.qkv.weight"), "timm", _VITS),
    (("patch_embed.proj.weight", "layers.0.blocks.0.attn.qkv.weight"), "timm", _SWINS),
    (("stem.0.weight", "stages.0.blocks.0.conv_dw.weight"), "timm", ("convnext_tiny", "convnext_small", "convnext_base", "convnext_large")),
    (("features.conv0.weight", "features.norm5.weight"), "torchvision", ("densenet121", "densenet161", "densenet169", "densenet201")),
    (("features.0.weight", "classifier.6.weight"), "torchvision", _VGGS),
    (("features.0.0.weight", "features.1.conv.0.0.weight"), "torchvision", ("mobilenet_v2",)),
    (("features.0.0.weight", "features.1.block.0.0.weight"), "torchvision", ("mobilenet_v3_small", "mobilenet_v3_large")),
    (("features.0.0.weight", "features.1.0.block.0.0.weight"), "torchvision", tuple(f"efficientnet_b{i}" for i in range(8))),
    (("conv_proj.weight", "encoder.pos_embedding"), "torchvision", ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32")),
)


def fitting(found: Mapping[str, Tensor]) -> list[str]:
    """Names of the models with default arguments that have just the tensors of a file, the classifier aside."""
    names = set(found)
    families = [family for family in FAMILIES if names.issuperset(family.marks)]
    candidates = [(name, family) for family in families for name in family.candidates]
    candidates += [(f"{library}/{name}", None) for marks, library, some in _SIGNS if names.issuperset(marks) for name in some]
    return [name for name, family in candidates if _fits(found, name, family)]


def _fits(found: Mapping[str, Tensor], name: str, family: Family | None) -> bool:
    try:
        with torch.device("meta"):  # shapes without memory
            model = models.build(name)
    except models.ModelError:  # a library that is not installed, or has it no more
        return False
    ours = family.names(model) if family else {}
    theirs = {ours.get(n, n): tensor for n, tensor in found.items()}
    return _body(theirs.items(), model) == _body(model.state_dict().items(), model)


def _body(tensors: Iterable[tuple[str, Tensor]], model: nn.Module) -> dict[str, tuple[int, ...]]:
    heads = tuple(f"{head}." for head in classifiers(model))
    return {name: tuple(tensor.shape) for name, tensor in tensors if tensor.is_floating_point() and not (heads and name.startswith(heads))}
