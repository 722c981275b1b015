"""Grad-CAM: the right layer of every family of models, and heat where the class is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torchvision import models as torchvision

from liandan.deploy.explain import _grid, target_layer
from liandan.runs.layout import RunError
from tests.unit.deploy.photos import CLASSES, photograph
from tests.zygote import Zygote

# the families' own code, small: {name: (model, size of its images, name of the layer)}
FAMILIES: dict[str, tuple[Callable[[], torch.nn.Module], int, str]] = {
    "timm/resnet18": (lambda: timm.create_model("resnet18"), 96, "layer4"),
    "timm/tf_efficientnet_lite0": (lambda: timm.create_model("tf_efficientnet_lite0"), 96, "bn2"),
    "timm/convnext": (lambda: timm.create_model("convnext_atto", depths=(1, 1, 1, 1)), 96, "norm_pre"),
    "timm/mobilevit": (lambda: timm.create_model("mobilevit_xxs"), 128, "final_conv"),
    "timm/vit": (lambda: timm.create_model("vit_tiny_patch16_224", depth=3, img_size=64), 64, "blocks.2.norm1"),
    "timm/deit": (lambda: timm.create_model("deit_tiny_distilled_patch16_224", depth=3, img_size=64), 64, "blocks.2.norm1"),
    "timm/swin": (
        lambda: timm.create_model(
            "swin_tiny_patch4_window7_224", img_size=64, window_size=4, depths=(2, 2), embed_dim=24, num_heads=(2, 4)
        ),
        64, "layers.1.blocks.1.norm1",
    ),
    "timm/mixer": (lambda: timm.create_model("mixer_s32_224"), 224, "norm"),
    "torchvision/vit": (lambda: torchvision.VisionTransformer(64, 16, 3, 2, 32, 64), 64, "encoder.layers.encoder_layer_2.ln_1"),
    "torchvision/mobilenet_v3_small": (torchvision.mobilenet_v3_small, 96, "features"),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_the_layer_of_a_family(family: str) -> None:
    build, size, expected = FAMILIES[family]
    torch.manual_seed(0)
    model, images = build().eval(), torch.randn(1, 3, size, size)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.02)  # some heads and scales begin at zero, and nothing flows through them
    layer, reshape = target_layer(model, images)
    (name,) = [n for n, m in model.named_modules() if m is layer]
    assert name == expected or name.startswith(f"{expected}."), name
    with GradCAM(model=model, target_layers=[layer], reshape_transform=reshape) as cam:
        heat = cam(input_tensor=images, targets=[ClassifierOutputTarget(3)])[0]  # pyright: ignore[reportArgumentType]
        values = cam.activations_and_grads
        gradient = values.gradients[0]
    assert heat.shape == (size, size) and np.isfinite(heat).all()
    assert gradient.dim() == 4 and bool((gradient != 0).any()), "nothing flows from the class to this layer"


def test_the_grid_of_patches() -> None:
    assert _grid(197, (224, 224)) == (14, 14) == _grid(196, (224, 224)) == _grid(198, (384, 384))
    assert _grid(1 + 14 * 28, (224, 448)) == (14, 28)
    assert _grid(3, (224, 224)) is None


def test_a_model_without_a_map_is_refused() -> None:
    with pytest.raises(RunError, match="no layer with a map"):
        target_layer(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)), torch.zeros(1, 1, 8, 8))


def test_the_heat_is_where_the_class_is(run: Any, tmp_path: Path) -> None:
    """Two classes that differ in where the bright patch is: the heat of each lies on its own patch."""
    opened = run.opened
    for number, label in enumerate(CLASSES):
        photograph(label, 100).save(tmp_path / "a.png")
        images = opened.device.move(opened.pipeline.collate([opened.pipeline.example(str(tmp_path / "a.png"))]))["image"]
        layer, reshape = target_layer(opened.model, images)
        with GradCAM(model=opened.model, target_layers=[layer], reshape_transform=reshape) as cam:
            target = ClassifierOutputTarget(opened.task.labels.index(label))
            heat = cam(input_tensor=images, targets=[target])[0]  # pyright: ignore[reportArgumentType]
        halves = heat[:16, :16].mean(), heat[16:, 16:].mean()
        assert np.argmax(halves) == number, (label, halves)


def test_pictures_lie_in_the_run_under_names_of_their_own(run: Any, photos: Path, tmp_path: Path) -> None:
    bad = tmp_path / "坏.png"
    bad.write_bytes(b"no image")
    same = [str(photos / label / "图 1.png") for label in CLASSES]
    rows = list(run.explain([*same, str(bad)]))
    assert [row.get("label") for row in rows] == [*CLASSES, None] and "error" in rows[2]
    pictures = [Path(row["picture"]) for row in rows[:2]]
    assert [p.relative_to(run.path).as_posix() for p in pictures] == ["samples/explain/图 1.png", "samples/explain/图 1-2.png"]
    for picture in pictures:
        with Image.open(picture) as image:
            assert image.width > 2 * image.height and np.asarray(image.convert("RGB")).std() > 20


def test_the_command_explains_a_class_that_is_asked_for(zygote: Zygote, run: Any, photos: Path, tmp_path: Path) -> None:
    words = ["explain", str(run.path), str(photos / CLASSES[0] / "图 2.png"), "--json"]
    child = zygote.run(*words, "--class", CLASSES[1], "--out", "为什么", cwd=tmp_path)
    assert child.wait() == 0, child.text()
    (row,) = json.loads(child.text()[child.text().index("[\n") :])
    assert row["label"] == CLASSES[1] and row["confidence"] < 0.5 and (tmp_path / "为什么" / "图 2.png").is_file()
    child = zygote.run(*words, "--class", "狗", cwd=tmp_path)
    assert child.wait() == 2 and '"狗"' in child.text() and "Traceback" not in child.text()
