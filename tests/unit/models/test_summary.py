import json
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from liandan import models
from liandan.models.summary import example, summary


def test_resnet18() -> None:
    found = summary(models.build("torchvision/resnet18"), torch.zeros(1, 3, 224, 224))
    assert found.parameters == found.trainable == 11_689_512
    assert found.macs == 1_814_073_344  # 1.81 G, as He et al. (2015) count them: 1.8
    first, last = found.rows[0], found.rows[-1]
    assert (first.name, first.type, first.output, first.parameters) == ("conv1", "Conv2d", [1, 64, 112, 112], 9408)
    assert first.macs == 64 * 112 * 112 * 3 * 49
    assert (last.name, last.output, last.parameters, last.macs) == ("fc", [1, 1000], 513_000, 512_000)
    assert sum(r.parameters for r in found.rows) == found.parameters and sum(r.macs for r in found.rows) == found.macs


@pytest.mark.parametrize("name", ["timm/test_vit", "torchvision/vit_b_32"])
def test_attention_counts_whatever_kernel_computes_it(name: str) -> None:
    side = 160 if name == "timm/test_vit" else 64
    kwargs = {} if name == "timm/test_vit" else {"image_size": side}
    model = models.build(name, num_classes=5, **kwargs)
    found = summary(model, torch.zeros(2, 3, side, side))
    patch, width, depth, hidden = (16, 64, 6, 192) if name == "timm/test_vit" else (32, 768, 12, 3072)
    patches = (side // patch) ** 2
    tokens = patches + 1
    block = tokens * (4 * width * width + 2 * width * hidden) + 2 * tokens * tokens * width
    assert found.macs == 2 * (patches * 3 * patch * patch * width + depth * block + 5 * width)
    assert sum(r.macs for r in found.rows) <= found.macs  # a row beneath another is not counted in both
    assert sum(r.parameters for r in found.rows) == found.parameters  # class token and positions included


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
    model[1].eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for _ in range(2):
        summary(model, torch.rand(2, 1, 5, 5))
        assert [m.training for m in model.modules()] == [True, True, False, True]
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    with pytest.raises(RuntimeError):
        summary(model, torch.rand(2, 9, 5, 5))
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.backends.mha.get_fastpath_enabled()


def test_shared_frozen_unused_and_repeated_layers() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.once, self.unused, self.twin = nn.Linear(4, 4, bias=False), nn.Linear(4, 9), nn.Linear(4, 4, bias=False)
            self.twin.weight = self.once.weight
            self.unused.requires_grad_(False)

        def forward(self, x: torch.Tensor, scale: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"y": self.twin(self.once(self.once(x))) * scale}

    found = summary(Odd(), {"x": torch.zeros(3, 4), "scale": torch.ones(1)})
    assert [(r.name, r.output, r.parameters, r.macs) for r in found.rows] == [
        ("once", [3, 4], 16, 96),
        ("twin", [3, 4], 0, 48),
        ("unused", None, 45, 0),
    ]
    assert (found.parameters, found.trainable, found.macs) == (61, 16, 144)


def test_a_tied_head_counts_in_the_total() -> None:
    model = models.build("liandan/gpt", vocab_size=11, context=8, n_layer=1, n_head=2, width=8, hidden=16)
    block = 4 * 8 * 8 + 3 * 8 * 16
    assert summary(model, torch.zeros(1, 5, dtype=torch.long)).macs == 5 * (block + 11 * 8) + 2 * 5 * 5 * 8


@pytest.mark.parametrize(
    ("name", "arguments", "output"),
    [
        ("liandan/gpt", {"vocab_size": 11, "context": 8}, [1, 8, 11]),
        ("liandan/dcgan", {"width": 4, "latent": 5}, [1, 1, 32, 32]),
        ("liandan/lenet5", {"in_chans": 3}, [1, 10]),
        ("timm/test_vit", {"in_chans": 1, "num_classes": 4}, [1, 4]),
    ],
)
def test_an_example_fits_its_model(name: str, arguments: dict, output: list[int]) -> None:
    model = models.build(name, **arguments)
    inputs = example(name, model)
    assert list(model(inputs).shape) == output
    found = json.loads(json.dumps(summary(model, inputs).to_json()))
    assert found["parameters"] == sum(p.numel() for p in model.parameters()) and found["rows"][0].keys() >= {
        "name",
        "type",
        "output",
        "macs",
    }
    if name == "liandan/lenet5":
        for size, shape in ((48, (1, 3, 48, 48)), ([20, 40], (1, 3, 20, 40))):
            image = example(name, model, size)
            assert isinstance(image, torch.Tensor) and image.shape == shape


# ------------------------------------------------------------------------------------------------------ against what others published


@pytest.mark.parametrize("name", ["alexnet", "vgg16", "densenet121", "mobilenet_v3_large", "efficientnet_b4", "convnext_tiny", "vit_b_16"])
def test_torchvision_publishes_the_same_figures(name: str) -> None:
    published: Any = torchvision.models.get_model_weights(name)
    meta = published.DEFAULT.meta
    side = models.defaults(f"torchvision/{name}")["size"]
    arguments = {"image_size": side} if name.startswith("vit") else {}
    with torch.device("meta"):
        found = summary(torchvision.models.get_model(name, **arguments), torch.zeros(1, 3, side, side))
    assert found.parameters == meta["num_params"]
    assert found.macs / 1e9 == pytest.approx(meta["_ops"], abs=1e-3)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("timm/tf_efficientnet_b4", 19_341_616), ("timm/vit_base_patch16_224", 86_567_656), ("liandan/alexnet", 46_764_746)],
)
def test_published_numbers_of_parameters(name: str, parameters: int) -> None:
    with torch.device("meta"):
        model = models.build(name)
        assert summary(model, example(name, model)).parameters == parameters


@pytest.mark.parametrize(
    ("name", "field"),
    [("torchvision/alexnet", 195), ("torchvision/vgg16", 212), ("torchvision/resnet18", 435), ("timm/mobilenetv1_100", 315)],
)
def test_published_receptive_fields(name: str, field: int) -> None:
    """Araujo, Norris and Sim (2019), appendix; ResNet-18 by the same formula."""
    with torch.device("meta"):
        model = models.build(name)
        assert summary(model, example(name, model)).field == field


class Branches(nn.Module):
    """Uneven kernels, strides and dilations, two paths, and a squeeze-and-excitation that sees everything."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(1, 2, 3, stride=2, padding=1)
        self.wide = nn.Sequential(nn.Conv2d(1, 2, (3, 7), stride=2, padding=(1, 3)), nn.Conv2d(2, 2, 3, padding=2, dilation=2))
        self.pool = nn.AvgPool2d(2)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2, 2, 1), nn.Sigmoid())
        self.last = nn.Conv2d(2, 1, (5, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.pool(self.narrow(x) + self.wide(x))
        return self.last(maps * self.gate(maps).detach())


def test_a_receptive_field_is_where_the_gradient_reaches() -> None:
    model, image = Branches(), torch.rand(1, 1, 96, 96, requires_grad=True)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.1)  # nothing cancels
    found = summary(model, image)
    out = model(image)
    out[0, 0, out.shape[2] // 2, out.shape[3] // 2].backward()
    assert image.grad is not None
    reached = image.grad[0, 0] != 0
    height, width = int(reached.any(1).sum()), int(reached.any(0).sum())
    rows = {row.name: row.field for row in found.rows}
    assert rows["narrow"] == 3 and rows["wide.0"] == [3, 7] and rows["wide.1"] == [11, 15] and rows["gate.1"] is None
    assert rows["last"] == found.field == [height, width]


@pytest.mark.parametrize(
    ("name", "field", "first"),
    [
        ("liandan/lenet5", 16, 5),
        ("timm/test_vit", None, 16),
        ("timm/gmixer_12_224", None, 16),
        ("timm/swin_tiny_patch4_window7_224", None, 4),
    ],
)
def test_what_sees_the_whole_image_has_no_field(name: str, field: int | None, first: int) -> None:
    with torch.device("meta"):
        model = models.build(name)
        found = summary(model, example(name, model))
    assert found.rows[-1].field is None  # the head
    assert found.field == field and found.rows[0].field == first
