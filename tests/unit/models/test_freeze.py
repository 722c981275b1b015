import pytest
import torch
from torch import nn

from liandan import models
from liandan.models.freeze import classifiers, freeze, thaw


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("timm/test_resnet", ["fc"]),
        ("timm/test_vit", ["head"]),
        ("timm/test_efficientnet", ["classifier"]),
        ("timm/deit_tiny_distilled_patch16_224", ["head", "head_dist"]),
        ("torchvision/resnet18", ["fc"]),
        ("torchvision/mobilenet_v3_small", ["classifier.3"]),
        ("torchvision/squeezenet1_1", ["classifier.1"]),
        ("torchvision/swin_t", ["head"]),
        ("liandan/lenet5", ["head"]),
    ],
)
def test_the_classifier_is_found_and_has_the_classes(name: str, heads: list[str]) -> None:
    model = models.build(name, num_classes=7)
    assert classifiers(model) == heads
    assert all(model.get_submodule(h).weight.shape[0] == 7 for h in heads)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["timm/test_resnet", "torchvision/shufflenet_v2_x0_5"])
def test_a_frozen_backbone_does_not_change_and_its_head_does(name: str) -> None:
    torch.manual_seed(0)
    model = models.build(name, num_classes=3)
    frozen = freeze(model, ["backbone"])
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for _ in range(2):
        model.train()
        frozen.hold(model)
        model(torch.rand(4, 3, 64, 64)).square().sum().backward()
        optimizer.step()
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"fc.weight", "fc.bias"}  # running statistics included
    assert set(frozen.parameters) == {n for n, _ in model.named_parameters()} - changed
    assert model.training and model.get_submodule("fc").training


def test_a_prefix_ends_at_a_dot_and_wildcards_work() -> None:
    model = nn.ModuleDict({"layer1": nn.Linear(2, 2), "layer10": nn.Linear(2, 2), "头": nn.Linear(2, 2)})
    assert freeze(model, ["layer1"]).parameters == ("layer1.weight", "layer1.bias")
    assert freeze(model, ["layer*"]).modules == ("layer1", "layer10")
    assert freeze(model, ["头.bias"]).modules == ()  # not frozen whole
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["头.weight"]


def test_statistics_without_parameters_and_dropout_inside_are_held() -> None:
    model = nn.Sequential()
    model.add_module("stem", nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Dropout(0.5)))
    model.add_module("body", nn.Conv2d(3, 4, 1))
    model.add_module("drop", nn.Dropout(0.5))
    model.add_module("head", nn.Linear(4, 2))
    frozen = freeze(model, ["backbone"])
    assert frozen.modules == ("stem", "body")
    model.train()
    frozen.hold(model)
    assert not model.get_submodule("stem.0").training and not model.get_submodule("stem.1").training
    assert model.get_submodule("drop").training  # regularizes the head


def test_language_model() -> None:
    model = models.build("liandan/gpt", vocab_size=9, context=8, n_layer=12, tied=False)
    frozen = freeze(model, ["blocks.1", "embedding"])
    assert "blocks.1" in frozen.modules and not any("blocks.10" in n for n in frozen.parameters)
    assert classifiers(model) == ["head"]


def test_refusals() -> None:
    resnet = models.build("timm/test_resnet")
    with pytest.raises(models.ModelError, match="beneath 'layer9'. Did you mean 'layer"):
        freeze(resnet, ["layer9"])
    with pytest.raises(models.ModelError, match="nothing to learn"):
        freeze(resnet, ["backbone", "fc"])
    assert all(p.requires_grad for p in resnet.parameters())
    with pytest.raises(models.ModelError, match="no classifier .*: generator, critic"):
        freeze(models.build("liandan/dcgan", width=4), ["backbone"])
    with pytest.raises(models.ModelError, match="no classifier .*embedding"):
        freeze(models.build("liandan/gpt", vocab_size=9, context=8), ["backbone"])


def test_parts_are_unfrozen_one_after_the_other() -> None:
    model = models.build("timm/test_resnet", num_classes=3)
    stages = thaw(model, ["backbone"], [["layer4"], ["layer3.0", "layer1"]])
    names = [n for n, _ in model.named_parameters()]
    assert set(stages[0].parameters) == {n for n in names if not n.startswith(("layer4.", "fc."))}
    assert set(stages[1].parameters) == {n for n in names if not n.startswith(("layer4.", "fc.", "layer3.0.", "layer1."))}
    assert "layer4" not in stages[0].modules and "layer3" in stages[0].modules and "layer3" not in stages[1].modules
    assert all(p.requires_grad for p in model.parameters())  # it only says
    with pytest.raises(models.ModelError, match="'layer4' is frozen by then"):
        thaw(model, ["layer1"], [["layer4"]])
    with pytest.raises(models.ModelError, match="Did you mean 'layer"):
        thaw(model, ["layer1"], [["layer9"]])
