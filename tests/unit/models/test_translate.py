from pathlib import Path

import pytest
import torch

from liandan import models
from liandan.models.translate import FAMILIES, Manner, recognize
from liandan.models.weights import WeightsError, load_weights
from tests.parity.foreign import read, weights


def test_the_table_of_efficientnet_b4() -> None:
    """Lines of the published converter's naming, and the number of tensors of the published checkpoint."""
    shapes = read("mmpretrain-efficientnet-b4")["shapes"]
    family = recognize(shapes, ())
    assert family is not None
    names = family.names(models.build("timm/tf_efficientnet_b4"))
    assert len(names) == 706 and names.keys() == shapes.keys()
    for theirs, ours in {
        "backbone.layers.0.conv.weight": "conv_stem.weight",
        "backbone.layers.1.0.linear_conv.conv.weight": "blocks.0.0.conv_pw.weight",
        "backbone.layers.4.5.expand_conv.bn.bias": "blocks.3.5.bn1.bias",
        "backbone.layers.4.6.depthwise_conv.conv.weight": "blocks.4.0.conv_dw.weight",
        "backbone.layers.5.8.se.conv1.conv.bias": "blocks.6.0.se.conv_reduce.bias",
        "backbone.layers.6.bn.running_var": "bn2.running_var",
        "head.fc.weight": "classifier.weight",
    }.items():
        assert names[theirs] == ours


def test_every_family_names_every_tensor_of_its_models_once() -> None:
    for family in FAMILIES:
        with torch.device("meta"):
            model = models.build(family.candidates[0])
        names = family.names(model)
        assert set(names.values()) == set(model.state_dict()), family.title
        assert set(family.marks) <= set(names), family.title


def test_a_family_is_known_by_names_alone_and_only_where_the_model_has_others(tmp_path: Path) -> None:
    model = models.build("torchvision/efficientnet_b0", num_classes=2)
    assert recognize(model.state_dict(), model.state_dict()) is None
    torch.save(model.state_dict(), tmp_path / "efficientnet_b0_mmpretrain.pth")
    assert load_weights(model, tmp_path / "efficientnet_b0_mmpretrain.pth").family is None
    assert recognize(["conv_stem.weight", "backbone.layers.0.conv.weight"], ()) is None


def test_how_a_model_computes() -> None:
    with torch.device("meta"):
        assert Manner.of(models.build("timm/tf_efficientnet_lite0")) == Manner(1e-3, same_padding=True)
        assert Manner.of(models.build("timm/efficientnet_b0")) == Manner(1e-5, same_padding=False)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_head_of_other_classes(tmp_path: Path, prefix: str) -> None:
    known = weights(read("mmpretrain-efficientnet-b0")["shapes"])
    torch.save({"state_dict": {prefix + k: v for k, v in known.items()}, "meta": {}, "optimizer": {}}, tmp_path / "w.pth")
    model = models.build("timm/tf_efficientnet_b0", num_classes=11)
    report = load_weights(model, tmp_path / "w.pth")
    assert sorted(report.reinitialized) == ["classifier.bias", "classifier.weight"] and report.classes == (10, 11)
    assert not report.missing and not report.unexpected
    assert "the head starts anew for 11 classes, the file's has 10" in str(report) and "mmpretrain" in str(report)
    assert torch.equal(model.get_parameter("conv_stem.weight"), known["backbone.layers.0.conv.weight"])


def test_own_names_of_another_architecture_are_named(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(models.build("timm/resnet18").state_dict(), path)
    for aimed in ("timm/resnet34", "timm/convnext_atto", "liandan/lenet5"):  # some in common, little, nothing
        with pytest.raises(WeightsError, match="The file fits timm/resnet18 with default arguments"):
            load_weights(models.build(aimed, num_classes=5), path)
    load_weights(models.build("torchvision/resnet18", num_classes=5), path)
    assert load_weights(models.build("timm/resnet18", num_classes=0), path).unexpected == ["fc.weight", "fc.bias"]
    with pytest.raises(WeightsError, match=r"conv1.weight has shape \(64, 3, 7, 7\).*\(64, 1, 7, 7\).*fits timm/resnet18 with default"):
        load_weights(models.build("timm/resnet18", in_chans=1), path)


def test_more_tensors_than_the_model_has_are_another_architecture(tmp_path: Path) -> None:
    """Every tensor of a ResNet-18 is in a ResNet-34's file, and of the same shape."""
    torch.save(models.build("timm/resnet34").state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="The file fits timm/resnet34"):
        load_weights(models.build("timm/resnet18"), tmp_path / "w.pth")
