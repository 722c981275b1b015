"""The backbone types of Awesome-Backbones and mmpretrain configs, and the timm, torchvision or own model that each variant is.

Data alone. A family is found by its `type`; the arguments in `by` (with their defaults, None: must be given) choose the variant, in that
order. `same` are arguments that the named model has built in, at the values listed (None: at any); `passed` are arguments of that model.
`why` says why a family or some of its variants have no counterpart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Value = str | int | float | bool | None
Variant = str | tuple[str, dict[str, Any]]  # a model's name, or one with arguments that make it that variant


@dataclass(frozen=True)
class Family:
    """A backbone type. See the head of this file."""

    by: Mapping[str, Value] = field(default_factory=dict)
    variants: Mapping[tuple[Value, ...], Variant] = field(default_factory=dict)
    same: Mapping[str, tuple[Any, ...] | None] = field(default_factory=dict)
    passed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    why: str = ""


NOWHERE = "neither timm nor torchvision has this network"
NO_CONFIG = "the network is in timm, this variant of it is not"

# Arguments that mean the same for every type.
SAME: Mapping[str, tuple[Any, ...] | None] = {
    "num_stages": (4,), "out_indices": None, "style": ("pytorch",), "num_classes": None, "frozen_stages": (-1,), "norm_eval": (False,),
    "in_channels": (3,), "in_chans": (3,), "drop_rate": (0.0,), "attn_drop_rate": (0.0,), "with_cp": (False,), "deploy": (False,),
    "final_norm": (True,), "qkv_bias": (True,), "frozen": (False,), "with_cls_token": (True,),
}  # fmt: skip
PASSED: Mapping[str, tuple[str, ...]] = {"drop_path_rate": ("drop_path_rate",), "drop_rate": ("drop_rate",), "in_channels": ("in_chans",)}
# there, drop_rate is of the embedding and of each block; timm's drop_rate is of the head
_TOKENS_DROP = {"drop_rate": ("pos_drop_rate", "proj_drop_rate"), "attn_drop_rate": ("attn_drop_rate",)}

BACKBONES: dict[str, Family] = {
    "AlexNet": Family({}, {(): "torchvision/alexnet"}),
    "BEiT": Family(
        {"arch": None, "img_size": 224, "patch_size": 16},
        {
            ("base", 224, 16): "timm/beit_base_patch16_224",
            ("base", 384, 16): "timm/beit_base_patch16_384",
            ("large", 224, 16): "timm/beit_large_patch16_224",
            ("large", 384, 16): "timm/beit_large_patch16_384",
            ("large", 512, 16): "timm/beit_large_patch16_512",
            ("large", 196, 14): "timm/eva_large_patch14_196",
            ("large", 336, 14): "timm/eva_large_patch14_336",
            ("eva-g", 224, 14): "timm/eva_giant_patch14_224",
            ("eva-g", 336, 14): "timm/eva_giant_patch14_336",
            ("eva-g", 560, 14): "timm/eva_giant_patch14_560",
        },
        same={
            "avg_token": None, "output_cls_token": None, "use_abs_pos_emb": None, "use_rel_pos_bias": None, "use_shared_rel_pos_bias": None,
            "layer_scale_init_value": None, "layer_cfgs": None,
        },
        why=f"EVA giant with patches of 16: {NO_CONFIG}",
    ),
    "Conformer": Family(why=NOWHERE),
    "ConvMixer": Family(
        {"arch": None},
        {("768/32",): "timm/convmixer_768_32", ("1024/20",): "timm/convmixer_1024_20_ks9_p14", ("1536/20",): "timm/convmixer_1536_20"},
        same={"act_cfg": None, "patch_size": None, "kernel_size": None},
    ),
    "ConvNeXt": Family(
        {"arch": None},
        {(size,): f"timm/convnext_{size}" for size in ("atto", "femto", "pico", "nano", "tiny", "small", "base", "large", "xlarge")},
        same={"gap_before_final_norm": (True,)},
    ),
    "CSPDarkNet": Family({"depth": None}, {(53,): "timm/cspdarknet53"}),
    "CSPResNet": Family({"depth": None}, {(50,): "timm/cspresnet50"}),
    "CSPResNeXt": Family({"depth": None}, {(50,): "timm/cspresnext50"}),
    "DaViT": Family({"arch": None}, {(size,): f"timm/davit_{size}" for size in ("tiny", "small", "base", "large", "huge", "giant")}),
    "VisionTransformer": Family(
        {"arch": None, "img_size": 224, "patch_size": 16},
        {
            ("base", 224, 16): "timm/vit_base_patch16_224",
            ("base", 224, 32): "timm/vit_base_patch32_224",
            ("base", 384, 16): "timm/vit_base_patch16_384",
            ("base", 384, 32): "timm/vit_base_patch32_384",
            ("large", 224, 16): "timm/vit_large_patch16_224",
            ("large", 224, 32): "timm/vit_large_patch32_224",
            ("large", 384, 16): "timm/vit_large_patch16_384",
            ("large", 384, 32): "timm/vit_large_patch32_384",
            ("huge", 224, 14): "timm/vit_huge_patch14_224",
            ("deit-tiny", 224, 16): "timm/deit_tiny_patch16_224",
            ("deit-small", 224, 16): "timm/deit_small_patch16_224",
            ("deit-base", 224, 16): "timm/deit_base_patch16_224",
            ("deit-base", 384, 16): "timm/deit_base_patch16_384",
        },
        passed=_TOKENS_DROP,
        why="arch small is 8 layers of width 768 there, a network nobody else has",
    ),
    "DistilledVisionTransformer": Family(
        {"arch": None, "img_size": 224, "patch_size": 16},
        {
            ("deit-tiny", 224, 16): "timm/deit_tiny_distilled_patch16_224",
            ("deit-small", 224, 16): "timm/deit_small_distilled_patch16_224",
            ("deit-base", 224, 16): "timm/deit_base_distilled_patch16_224",
            ("deit-base", 384, 16): "timm/deit_base_distilled_patch16_384",
        },
        passed=_TOKENS_DROP,
    ),
    "DeiT3": Family(
        {"arch": None, "img_size": 224, "patch_size": 16},
        {
            ("small", 224, 16): "timm/deit3_small_patch16_224",
            ("small", 384, 16): "timm/deit3_small_patch16_384",
            ("medium", 224, 16): "timm/deit3_medium_patch16_224",
            ("base", 224, 16): "timm/deit3_base_patch16_224",
            ("base", 384, 16): "timm/deit3_base_patch16_384",
            ("large", 224, 16): "timm/deit3_large_patch16_224",
            ("large", 384, 16): "timm/deit3_large_patch16_384",
            ("huge", 224, 14): "timm/deit3_huge_patch14_224",
        },
        passed=_TOKENS_DROP,
    ),
    "DenseNet": Family({"arch": None}, {(depth,): f"timm/densenet{depth}" for depth in ("121", "161", "169", "201")}),
    "EdgeNeXt": Family(
        {"arch": None},
        {
            ("xxsmall",): "timm/edgenext_xx_small",
            ("xsmall",): "timm/edgenext_x_small",
            ("small",): "timm/edgenext_small",
            ("base",): "timm/edgenext_base",
        },
        same={"gap_before_final_norm": (True,)},
    ),
    "EfficientFormer": Family({"arch": None}, {(size,): f"timm/efficientformer_{size}" for size in ("l1", "l3", "l7")}),
    # TensorFlow's padding and BatchNorm, from which the checkpoints of these configs were converted: timm's models without tf_ have
    # the same names and shapes and compute something else.
    "EfficientNet": Family(
        {"arch": None},
        {(a,): f"timm/tf_efficientnet_{a}" for a in ("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "l2", "es", "em", "el")},
        same={"act_cfg": None},
    ),
    "EfficientNetV2": Family(
        {"arch": None}, {(a,): f"timm/tf_efficientnetv2_{a}" for a in ("b0", "b1", "b2", "b3", "s", "m", "l", "xl")}, same={"act_cfg": None}
    ),
    "HorNet": Family(why=NOWHERE),
    "HRNet": Family({"arch": None}, {(a,): f"timm/hrnet_{a}" for a in ("w18", "w30", "w32", "w40", "w44", "w48", "w64")}),
    "LeNet5": Family({}, {(): ("liandan/lenet5", {"activation": "tanh", "pool": "avg"})}),
    "MixMIMTransformer": Family(why=NOWHERE),
    "MlpMixer": Family(
        {"arch": None, "img_size": 224, "patch_size": 16},
        {
            (size, 224, patch): f"timm/mixer_{size[0]}{patch}_224"
            for size, patch in (("small", 16), ("small", 32), ("base", 16), ("base", 32), ("large", 16), ("large", 32))
        },
        passed={"drop_rate": ("proj_drop_rate",)},
    ),
    "MobileNetV2": Family(
        {"widen_factor": 1.0},
        {(width,): f"timm/mobilenetv2_{round(100 * width):03d}" for width in (0.35, 0.5, 0.75, 1.0, 1.4)},
    ),
    "MobileNetV3": Family(
        {"arch": "small"},
        {
            ("small",): "torchvision/mobilenet_v3_small",
            ("large",): "torchvision/mobilenet_v3_large",
            ("small_075",): "timm/mobilenetv3_small_075",
            ("small_050",): "timm/mobilenetv3_small_050",
        },
    ),
    "MobileViT": Family(
        {"arch": None}, {("xx_small",): "timm/mobilevit_xxs", ("x_small",): "timm/mobilevit_xs", ("small",): "timm/mobilevit_s"}
    ),
    "MViT": Family(
        {"arch": None},
        {(size,): f"timm/mvitv2_{size}" for size in ("tiny", "small", "base", "large")},
        same={"dim_mul_in_attention": None},
    ),
    "PoolFormer": Family({"arch": None}, {(a,): f"timm/poolformer_{a}" for a in ("s12", "s24", "s36", "m36", "m48")}),
    "RegNet": Family(
        {"arch": None},
        {
            ("regnetx_400mf",): "timm/regnetx_004",
            ("regnetx_800mf",): "timm/regnetx_008",
            ("regnetx_1.6gf",): "timm/regnetx_016",
            ("regnetx_3.2gf",): "timm/regnetx_032",
            ("regnetx_4.0gf",): "timm/regnetx_040",
            ("regnetx_6.4gf",): "timm/regnetx_064",
            ("regnetx_8.0gf",): "timm/regnetx_080",
            ("regnetx_12gf",): "timm/regnetx_120",
        },
    ),
    "RepLKNet": Family(why=NOWHERE),
    "RepVGG": Family(
        {"arch": None},
        {(a,): f"timm/repvgg_{a.lower()}" for a in ("A0", "A1", "A2", "B0", "B1", "B1g4", "B2", "B2g4", "B3", "B3g4", "D2se")},
        why=f"B1g2, B2g2 and B3g2: {NO_CONFIG}",
    ),
    "Res2Net": Family(
        {"depth": None, "scales": 4, "base_width": 26, "deep_stem": True, "avg_down": True},
        {
            (50, 4, 26, False, False): "timm/res2net50_26w_4s",
            (50, 6, 26, False, False): "timm/res2net50_26w_6s",
            (50, 8, 26, False, False): "timm/res2net50_26w_8s",
            (50, 2, 48, False, False): "timm/res2net50_48w_2s",
            (50, 8, 14, False, False): "timm/res2net50_14w_8s",
            (101, 4, 26, False, False): "timm/res2net101_26w_4s",
            (50, 4, 26, True, True): "timm/res2net50d",
            (101, 4, 26, True, True): "timm/res2net101d",
        },
    ),
    "ResNet": Family(
        {"depth": None, "base_channels": 64, "expansion": None},
        {
            (18, 64, None): "timm/resnet18",
            (34, 64, None): "timm/resnet34",
            (50, 64, None): "timm/resnet50",
            (101, 64, None): "timm/resnet101",
            (152, 64, None): "timm/resnet152",
            (50, 128, 2): "timm/wide_resnet50_2",
            (101, 128, 2): "timm/wide_resnet101_2",
        },
        same={"stem_channels": (64,), "deep_stem": (False,), "avg_down": (False,)},
    ),
    "ResNetV1c": Family({"depth": None}, {(depth,): f"timm/resnet{depth}c" for depth in (50, 101, 152)}),
    "ResNetV1d": Family({"depth": None}, {(depth,): f"timm/resnet{depth}d" for depth in (50, 101, 152)}),
    "ResNeXt": Family(
        {"depth": None, "groups": 32, "width_per_group": 4},
        {
            (50, 32, 4): "timm/resnext50_32x4d",
            (101, 32, 4): "timm/resnext101_32x4d",
            (101, 32, 8): "timm/resnext101_32x8d",
            (101, 64, 4): "timm/resnext101_64x4d",
        },
        why=f"depth 152: {NO_CONFIG}",
    ),
    "RevVisionTransformer": Family(why=NOWHERE),
    "SEResNet": Family({"depth": None}, {(depth,): f"timm/seresnet{depth}" for depth in (18, 34, 50, 101, 152)}, same={"se_ratio": (16,)}),
    "SEResNeXt": Family(
        {"depth": None, "groups": 32, "width_per_group": 4},
        {
            (50, 32, 4): "timm/seresnext50_32x4d",
            (101, 32, 4): "timm/seresnext101_32x4d",
            (101, 32, 8): "timm/seresnext101_32x8d",
            (101, 64, 4): "timm/seresnext101_64x4d",
        },
        same={"se_ratio": (16,)},
    ),
    "ShuffleNetV1": Family(why=NOWHERE),
    "ShuffleNetV2": Family(
        {"widen_factor": 1.0},
        {
            (0.5,): "torchvision/shufflenet_v2_x0_5",
            (1.0,): "torchvision/shufflenet_v2_x1_0",
            (1.5,): "torchvision/shufflenet_v2_x1_5",
            (2.0,): "torchvision/shufflenet_v2_x2_0",
        },
    ),
    "SwinTransformer": Family(
        {"arch": None, "img_size": 224, "stage_cfgs.block_cfgs.window_size": 7},
        {
            ("tiny", 224, 7): "timm/swin_tiny_patch4_window7_224",
            ("small", 224, 7): "timm/swin_small_patch4_window7_224",
            ("base", 224, 7): "timm/swin_base_patch4_window7_224",
            ("base", 384, 12): "timm/swin_base_patch4_window12_384",
            ("large", 224, 7): "timm/swin_large_patch4_window7_224",
            ("large", 384, 12): "timm/swin_large_patch4_window12_384",
        },
    ),
    "SwinTransformerV2": Family(
        {"arch": None, "img_size": 256, "window_size": 8},
        {
            ("tiny", 256, 8): "timm/swinv2_tiny_window8_256",
            ("tiny", 256, 16): "timm/swinv2_tiny_window16_256",
            ("small", 256, 8): "timm/swinv2_small_window8_256",
            ("small", 256, 16): "timm/swinv2_small_window16_256",
            ("base", 256, 8): "timm/swinv2_base_window8_256",
            ("base", 256, 16): "timm/swinv2_base_window16_256",
            ("large", 256, 8): ("timm/swinv2_large_window12_192", {"img_size": 256, "window_size": 8}),
            ("large", 256, 16): "timm/swinv2_large_window12to16_192to256",
        },
        same={"pretrained_window_sizes": ([0, 0, 0, 0],)},
    ),
    "T2T_ViT": Family(why=NOWHERE),
    "TinyViT": Family(
        {"arch": None, "img_size": 224},
        {
            ("5m", 224): "timm/tiny_vit_5m_224",
            ("11m", 224): "timm/tiny_vit_11m_224",
            ("21m", 224): "timm/tiny_vit_21m_224",
            ("21m", 384): "timm/tiny_vit_21m_384",
            ("21m", 512): "timm/tiny_vit_21m_512",
        },
        same={"gap_before_final_norm": (True,), "window_size": None},
    ),
    "TNT": Family(
        {"arch": None, "img_size": 224, "patch_size": 16},
        {("small", 224, 16): "timm/tnt_s_legacy_patch16_224", ("base", 224, 16): "timm/tnt_b_patch16_224"},
        same={"qkv_bias": (False,), "ffn_ratio": (4,), "first_stride": (4,), "num_fcs": (2,)},
    ),
    "PCPVT": Family(
        {"arch": None},
        {(size,): f"timm/twins_pcpvt_{size}" for size in ("small", "base", "large")},
        same={"norm_cfg": None, "norm_after_stage": None},
    ),
    "SVT": Family(
        {"arch": None},
        {(size,): f"timm/twins_svt_{size}" for size in ("small", "base", "large")},
        same={"norm_cfg": None, "norm_after_stage": None},
    ),
    "VAN": Family(why=NOWHERE),
    "VGG": Family(
        {"depth": None, "norm_cfg.type": None},
        {(depth, norm): f"torchvision/vgg{depth}{'_bn' if norm else ''}" for depth in (11, 13, 16, 19) for norm in (None, "BN")},
    ),
}
