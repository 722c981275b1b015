"""Checkpoints with other programs' names: our model computes what theirs did (`foreign` says where the figures come from)."""

from pathlib import Path

import pytest
import torch
import torchvision

from liandan import models
from liandan.models.translate import Manner, recognize
from liandan.models.weights import WeightsError, load_weights
from tests.parity.foreign import CLASSES, image, read, weights

PAIRS = {
    "mmpretrain-efficientnet-b0": "timm/tf_efficientnet_b0",
    "mmpretrain-efficientnet-b4": "timm/tf_efficientnet_b4",
    "mmpretrain-efficientnet-em": "timm/tf_efficientnet_em",
    "mmpretrain-mobilenet_v2": "timm/mobilenetv2_100",
    "mmpretrain-resnet18": "timm/resnet18",
    "mmpretrain-seresnet50": "timm/seresnet50",
    "mmpretrain-resnet_v1d50": "timm/resnet50d",
    "mmpretrain-convnext": "timm/convnext_tiny",
    "mmpretrain-vit-tiny": "timm/vit_tiny_patch16_224",
    "mmpretrain-deit-tiny-distilled": "timm/deit_tiny_distilled_patch16_224",
    "mmpretrain-swin": "timm/swin_tiny_patch4_window7_224",
    "efficientnet_pytorch-b0": "timm/tf_efficientnet_b0",
    "efficientnet_pytorch-b4": "timm/tf_efficientnet_b4",
}
SMALLER = {
    "mmpretrain-convnext": {"dims": [16, 32, 64, 128], "depths": [1, 1, 2, 1]},
    "mmpretrain-swin": {"embed_dim": 24, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]},
}


@pytest.mark.parametrize("theirs", PAIRS)
@torch.no_grad()
def test_logits_are_theirs(tmp_path: Path, theirs: str) -> None:
    known = read(theirs)
    path = tmp_path / "权重.pth"
    counters = {name: torch.zeros(shape, dtype=torch.int64) for name, shape in known["shapes"].items()}
    torch.save({"meta": {"epoch": 3}, "state_dict": counters | weights(known["shapes"])}, path)
    model = models.build(PAIRS[theirs], num_classes=CLASSES, **SMALLER.get(theirs, {})).eval()
    report = load_weights(model, path)
    assert not (report.missing or report.unexpected or report.reinitialized) and report.family
    torch.testing.assert_close(model(image(known["size"]))[0], torch.tensor(known["logits"]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("theirs", "ours", "arguments"),
    [("efficientnet_b0", "timm/efficientnet_b0", {}), ("efficientnet_v2_s", "timm/efficientnetv2_s", {"bn_eps": 1e-3})],
)
@torch.no_grad()
def test_torchvisions_efficientnets(tmp_path: Path, theirs: str, ours: str, arguments: dict[str, float]) -> None:
    network = torchvision.models.get_model(theirs, num_classes=CLASSES).eval()
    network.load_state_dict(weights({k: list(v.shape) for k, v in network.state_dict().items()}), strict=False)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    model = models.build(ours, num_classes=CLASSES, **arguments).eval()
    report = load_weights(model, tmp_path / "w.pth")
    assert not (report.missing or report.unexpected) and report.family
    torch.testing.assert_close(model(image(64)), network(image(64)), rtol=1e-3, atol=1e-4)
    if arguments:
        with pytest.raises(WeightsError, match="epsilon of 0.001 where the model has 1e-05.*`model.bn_eps=0.001`"):
            load_weights(models.build(ours, num_classes=CLASSES), tmp_path / "w.pth")


@pytest.mark.parametrize("published", [True, False])
@torch.no_grad()
def test_torchvisions_vision_transformer(tmp_path: Path, published: bool) -> None:
    """The published files have the names of an older version, which torchvision itself translates."""
    network = torchvision.models.VisionTransformer(32, 16, 2, 3, 48, 96, num_classes=CLASSES).eval()
    state = weights({k: list(v.shape) for k, v in network.state_dict().items()})
    network.load_state_dict(state)
    if published:
        state = {k.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v for k, v in state.items()}
    torch.save(state, tmp_path / "w.pth")
    small = {"img_size": 32, "depth": 2, "num_heads": 3, "embed_dim": 48, "mlp_ratio": 2}
    model = models.build("timm/vit_tiny_patch16_224", num_classes=CLASSES, **small).eval()
    report = load_weights(model, tmp_path / "w.pth")
    assert not (report.missing or report.unexpected) and report.family
    torch.testing.assert_close(model(image(32)), network(image(32)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "eps"), [("efficientnet_b4", 1e-5), ("efficientnet_b5", 1e-3), ("efficientnet_v2_m", 1e-3)])
def test_torchvisions_epsilon_is_known_from_the_number_of_blocks(name: str, eps: float) -> None:
    with torch.device("meta"):
        network = torchvision.models.get_model(name)
    family = recognize(network.state_dict(), ())
    assert family is not None and family.manner is not None
    assert family.manner(network.state_dict()) == Manner.of(network) == Manner(eps, same_padding=False)


def test_the_same_names_in_a_network_that_computes_otherwise_are_refused(tmp_path: Path) -> None:
    """Loaded regardless, the difference would be silent; it is not small."""
    known = read("mmpretrain-efficientnet-b4")
    torch.save({"state_dict": weights(known["shapes"])}, tmp_path / "w.pth")
    model = models.build("timm/efficientnet_b4", num_classes=CLASSES)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_weights(model, tmp_path / "w.pth")
    said = str(caught.value)
    assert "timm/tf_efficientnet_b4" in said and "SAME padding" in said and "epsilon of 0.001 where the model has 1e-05" in said
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    with torch.no_grad():
        theirs = torch.tensor(known["logits"])
        right, wrong = (models.build(f"timm/{n}", num_classes=CLASSES).eval() for n in ("tf_efficientnet_b4", "efficientnet_b4"))
        load_weights(right, tmp_path / "w.pth")
        wrong.load_state_dict(right.state_dict())
        assert (wrong(image(64))[0] - theirs).abs().max() > 100 * (right(image(64))[0] - theirs).abs().max()


@pytest.mark.parametrize(
    ("theirs", "aimed", "said"),
    [
        ("mmpretrain-efficientnet-b0", "timm/tf_efficientnet_b4", "timm/tf_efficientnet_b0"),
        ("efficientnet_pytorch-b0", "timm/resnet18", "timm/tf_efficientnet_b0"),
        ("mmpretrain-resnet18", "timm/resnet34", "timm/resnet18"),
    ],
)
def test_another_architecture_is_named(tmp_path: Path, theirs: str, aimed: str, said: str) -> None:
    torch.save({"state_dict": weights(read(theirs)["shapes"])}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=f"The file fits {said}"):
        load_weights(models.build(aimed, num_classes=3), tmp_path / "w.pth")
