"""The networks of the textbook's chapters on convolution: numbers of parameters, and torchvision's networks where the form is theirs."""

import pytest
import torch
import torchvision
from torch import nn

from liandan import models

CASES = {  # parameters; the side they are made for; a smaller one that still goes through
    "liandan/bn_lenet": (44_878, 28, 16),
    "liandan/alexnet": (46_764_746, 224, 65),
    "liandan/nin": (1_992_166, 224, 67),
    "liandan/googlenet": (5_977_530, 96, 33),
    "liandan/resnet": (11_178_378, 96, 32),
    "liandan/densenet": (758_226, 96, 32),
}


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", CASES)
def test_parameters_and_sizes(name: str) -> None:
    parameters, _, side = CASES[name]
    assert count(models.build(name)) == parameters
    model = models.build(name, num_classes=7, in_chans=3)
    logits = model(torch.rand(2, 3, side, side + 3))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert models.defaults(name)["size"] == CASES[name][1]


def test_a_perceptron_is_the_books() -> None:
    """784 pixels to 10 classes: 7,850 numbers; by way of 256: 203,530; of twice 256: 269,322. Weights from N(0, 0.01), biases 0."""
    for hidden, parameters in (([], 7_850), ([256], 203_530), ([256, 256], 269_322)):
        assert count(models.build("liandan/mlp", hidden=hidden)) == parameters
    model = models.build("liandan/mlp", size=[6, 8], in_chans=3, num_classes=7, hidden=[400, 5], dropout=[0.2, 0.5])
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.ReLU | nn.Dropout)]
    assert [type(layer).__name__ for layer in layers] == ["Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert [layer.p for layer in layers if isinstance(layer, nn.Dropout)] == [0.2, 0.5]
    weight, bias = (model.get_parameter(f"hidden.1.{name}") for name in ("weight", "bias"))
    assert weight.shape == (400, 144) and not bias.any() and float(weight.detach().std()) == pytest.approx(0.01, rel=0.02)
    images = torch.rand(2, 3, 6, 8)
    softmax = models.build("liandan/mlp", size=[6, 8], in_chans=3, num_classes=7, hidden=[])
    theirs = nn.functional.linear(images.reshape(2, -1), softmax.get_parameter("head.weight"))
    torch.testing.assert_close(softmax(images), theirs)
    with pytest.raises(models.ModelError, match="2 of them"):
        models.build("liandan/mlp", hidden=[4, 4], dropout=[0.5])


def test_vgg_is_torchvisions() -> None:
    assert count(models.build("liandan/vgg", width=0.25)) == 43_093_322
    with torch.device("meta"):
        for depth in (11, 13, 16, 19):
            theirs = torchvision.models.get_model(f"vgg{depth}", num_classes=7)
            assert count(models.build("liandan/vgg", depth=depth, in_chans=3, num_classes=7)) == count(theirs)
    theirs = torchvision.models.vgg11(num_classes=7).eval()
    ours = models.build("liandan/vgg", in_chans=3, num_classes=7).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    images = torch.rand(1, 3, 96, 64)
    torch.testing.assert_close(ours(images), theirs(images))
    with pytest.raises(models.ModelError, match="11, 13, 16, 19, received 12"):
        models.build("liandan/vgg", depth=12)


def test_resnet18_is_torchvisions_but_for_the_shortcuts_norm() -> None:
    theirs = torchvision.models.resnet18(num_classes=7).eval()
    ours = models.build("liandan/resnet", in_chans=3, num_classes=7).eval()
    state = theirs.state_dict()
    renamed = {}
    for name in ours.state_dict():
        to = name.replace("stem.0.", "conv1.").replace("stem.1.", "bn1.").replace("head.", "fc.").replace("shortcut.", "downsample.0.")
        if to.startswith("stages."):
            _, stage, rest = to.split(".", 2)
            to = f"layer{int(stage) + 1}.{rest}"
        renamed[name] = state[to] if to in state else torch.zeros_like(ours.state_dict()[name])  # the biases, which theirs has not
    ours.load_state_dict(renamed)
    images = torch.rand(2, 3, 96, 96)
    torch.testing.assert_close(ours(images), theirs(images), rtol=1e-3, atol=1e-3)


def test_alexnet_has_the_books_maps() -> None:
    """54, 26, 12 and 5 pixels a side for an image of 224."""
    maps, sides = torch.rand(1, 1, 224, 224), []
    for layer in models.build("liandan/alexnet").get_submodule("features").children():
        maps = layer(maps)
        sides += [maps.shape[-1]] if isinstance(layer, nn.MaxPool2d) or len(sides) == 0 else []
    assert sides == [54, 26, 12, 5] and maps.shape[1] == 256


def test_googlenet_has_the_papers_channels() -> None:
    """Table 1: 192 before the first inception, 256, 480, 512 four times less one 528, 832, 832, 1024."""
    maps, channels = torch.rand(1, 1, 96, 96), []
    for layer in models.build("liandan/googlenet").get_submodule("features").children():
        maps = layer(maps)
        channels += [maps.shape[1]] if type(layer).__name__ == "Inception" else []
    assert channels == [256, 480, 512, 512, 512, 528, 832, 832, 1024]


def test_a_dense_block_sees_all_before_it() -> None:
    model = models.build("liandan/densenet").eval()
    block = model.get_submodule("features.0")
    maps = torch.rand(1, 64, 8, 8)
    assert block(maps).shape == (1, 64 + 4 * 32, 8, 8) and torch.equal(block(maps)[:, :64], maps)
