"""What other programs call their tensors and what their networks compute, written down by those programs themselves.

    python -m tests.parity.foreign        # with mmpretrain 1.2.0 and efficientnet_pytorch 0.7.1 installed, which nothing else here needs

Each file of the folder `foreign` is one of their networks: the names and shapes of its tensors and its logits for IMAGE, with weights
that follow from the names alone (`weights`), so that they need not be kept.
"""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent / "foreign"
CLASSES = 10


def weights(shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """A tensor for each name that keeps activations in range; numpy promises the stream of RandomState for good."""
    made = {}
    for name, shape in shapes.items():
        random = np.random.RandomState(zlib.crc32(name.encode()))
        if name.endswith(("num_batches_tracked", "_index")):  # the model's own
            continue
        if len(shape) > 1:  # a matrix or a kernel
            values = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        elif name.endswith((".weight", "running_var", "gamma")):
            values = random.uniform(0.5, 1.5, shape)
        else:
            values = 0.1 * random.standard_normal(shape)
        made[name] = torch.from_numpy(values.astype(np.float32))
    return made


def image(size: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(0).standard_normal((1, 3, size, size)).astype(np.float32))


def read(name: str) -> dict[str, Any]:
    """{size, shapes: {name: shape}, logits}"""
    return json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))


def write(name: str, model: nn.Module, size: int, run: Callable[[nn.Module, Tensor], Tensor]) -> None:
    shapes = {k: list(v.shape) for k, v in model.state_dict().items()}
    model.load_state_dict(weights(shapes), strict=False)
    with torch.no_grad():
        logits = run(model.eval(), image(size))
    text = json.dumps({"size": size, "shapes": shapes, "logits": logits.flatten().tolist()})
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{name}: {len(shapes)} tensors, logits {logits.min():.3f} .. {logits.max():.3f}")


def of_mmpretrain(name: str, backbone: dict[str, Any], head: dict[str, Any], size: int = 64, neck: bool = True) -> None:
    from mmpretrain.registry import MODELS  # pyright: ignore[reportMissingImports]

    config = {"type": "ImageClassifier", "backbone": backbone, "head": {"type": "LinearClsHead", "num_classes": CLASSES, **head}}
    if neck:
        config["neck"] = {"type": "GlobalAveragePooling"}
    write(f"mmpretrain-{name}", MODELS.build(config), size, lambda model, images: model(images, mode="tensor"))


def main() -> None:
    import mmpretrain.models  # pyright: ignore[reportMissingImports]  # noqa: F401
    from efficientnet_pytorch import EfficientNet  # pyright: ignore[reportMissingImports]

    relu = {"type": "ReLU"}
    for arch, channels in (("b0", 1280), ("b4", 1792)):
        of_mmpretrain(f"efficientnet-{arch}", {"type": "EfficientNet", "arch": arch}, {"in_channels": channels})
    of_mmpretrain("efficientnet-em", {"type": "EfficientNet", "arch": "em", "act_cfg": relu}, {"in_channels": 1280})
    of_mmpretrain("mobilenet_v2", {"type": "MobileNetV2", "widen_factor": 1.0}, {"in_channels": 1280})
    of_mmpretrain("resnet18", {"type": "ResNet", "depth": 18}, {"in_channels": 512})
    of_mmpretrain("seresnet50", {"type": "SEResNet", "depth": 50}, {"in_channels": 2048})
    of_mmpretrain("resnet_v1d50", {"type": "ResNetV1d", "depth": 50}, {"in_channels": 2048})
    small: dict[str, Any] = {"depths": [1, 1, 2, 1], "channels": [16, 32, 64, 128]}
    of_mmpretrain("convnext", {"type": "ConvNeXt", "arch": small}, {"in_channels": 128}, neck=False)
    of_mmpretrain(
        "vit-tiny",
        {"type": "VisionTransformer", "arch": "deit-tiny", "img_size": 224, "patch_size": 16},
        {"type": "VisionTransformerClsHead", "in_channels": 192},
        size=224,
        neck=False,
    )
    of_mmpretrain(
        "deit-tiny-distilled",
        {"type": "DistilledVisionTransformer", "arch": "deit-tiny", "img_size": 224, "patch_size": 16},
        {"type": "DeiTClsHead", "in_channels": 192},
        size=224,
        neck=False,
    )
    small = {"embed_dims": 24, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}
    of_mmpretrain("swin", {"type": "SwinTransformer", "arch": small, "img_size": 224}, {"in_channels": 192}, size=224)
    for arch in ("b0", "b4"):
        model = EfficientNet.from_name(f"efficientnet-{arch}", num_classes=CLASSES, image_size=64)
        write(f"efficientnet_pytorch-{arch}", model, 64, lambda model, images: model(images))


if __name__ == "__main__":
    sys.exit(main())
