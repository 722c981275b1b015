"""Depth of parameters: timm's own grouping where the model has one, the order of layers elsewhere."""

from __future__ import annotations

import itertools

import pytest
from timm.models import group_parameters

from liandan import models
from liandan.models.depth import depths
from liandan.models.freeze import classifiers


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_resnet", "timm/test_efficientnet"])
def test_timms_models_say_it_themselves(name: str) -> None:
    model = models.build(name, num_classes=3)
    matcher = model.group_matcher(coarse=False)  # pyright: ignore[reportCallIssue]
    assert depths(model) == group_parameters(model, matcher, reverse=True)


@pytest.mark.parametrize(
    ("name", "layers", "in_order"),
    [
        ("liandan/lenet5", 5, ["features.0.weight", "head.weight"]),
        ("torchvision/resnet18", 10, ["conv1.weight", "layer1.0.conv1.weight", "layer1.1.conv2.weight", "layer4.1.bn2.bias", "fc.weight"]),
        ("torchvision/vit_b_32", 14, ["conv_proj.weight", "encoder.layers.encoder_layer_0.mlp.0.weight",
                                      "encoder.layers.encoder_layer_11.mlp.0.weight", "heads.head.weight"]),
        ("torchvision/mobilenet_v3_small", 15, ["features.0.0.weight", "features.1.block.0.0.weight", "classifier.0.weight"]),
    ],
)  # fmt: skip
def test_others_by_the_order_of_their_layers(name: str, layers: int, in_order: list[str]) -> None:
    model = models.build(name, num_classes=3)
    found = depths(model)
    assert found.keys() == dict(model.named_parameters()).keys()
    assert set(found.values()) == set(range(layers)), sorted(set(found.values()))
    assert all(found[a] < found[b] for a, b in itertools.pairwise(in_order))
    (head,) = classifiers(model)
    assert all(depth == layers - 1 for name, depth in found.items() if name.startswith(f"{head}."))


def test_a_norm_goes_with_the_layer_before_it() -> None:
    found = depths(models.build("torchvision/resnet18", num_classes=3))
    assert found["bn1.weight"] == found["conv1.weight"] == 0
