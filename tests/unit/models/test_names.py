import inspect
import socket
import subprocess
import sys

import pytest
import torch

from liandan import models


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a builder reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_importing_the_room_imports_no_library() -> None:
    done = python("import sys, liandan.models; print(sorted({'torch', 'timm', 'torchvision'} & set(sys.modules)))")
    assert done.stdout.strip() == "[]", done.stderr


def test_a_missing_library_names_the_extra_and_spoils_no_listing() -> None:
    done = python(
        "import sys; sys.modules['timm'] = None\n"
        "from liandan import models\n"
        "assert 'liandan/gpt' in models.names() and 'torchvision/resnet18' in models.names()\n"
        "try: models.build('timm/resnet18')\n"
        "except models.ModelError as error: print(error)"
    )
    assert 'pip install "liandan[vision]"' in done.stdout, done.stderr


@pytest.mark.parametrize(
    "name", ["timm/test_resnet", "timm/test_vit.r160_in1k", "torchvision/shufflenet_v2_x0_5", "torchvision/mobilenet_v3_small"]
)
def test_libraries_build_by_name_without_network(name: str, no_network: None) -> None:
    channels = {"in_chans": 1} if models.accepts(name, "in_chans") else {}
    model = models.build(name, num_classes=3, **channels).eval()
    side = models.defaults(name)["size"]
    assert model(torch.zeros(2, channels.get("in_chans", 3), side, side)).shape == (2, 3)


def test_resnet18_is_resnet18(no_network: None) -> None:
    for name in ("torchvision/resnet18", "timm/resnet18"):
        assert sum(p.numel() for p in models.build(name).parameters()) == 11_689_512


def test_torchvision_outputs_stay_tensors_in_training() -> None:
    model = models.build("torchvision/googlenet", num_classes=2).train()
    assert isinstance(model(torch.zeros(2, 3, 64, 64)), torch.Tensor)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet18", "timm/resnet18 or torchvision/resnet18"),
        ("timm/resnt18", "timm/resnet18"),
        ("lenet", "liandan/lenet5"),
        ("timm/resnet18.no_such_tag", "timm/resnet18"),
        ("hub/x", "starts with liandan/, hf/, timm/, torchvision/"),
    ],
)
def test_unknown_names_give_the_nearest(name: str, near: str) -> None:
    with pytest.raises(models.ModelError, match="liandan model list") as caught:
        models.resolve(name)
    assert near in str(caught.value)


@pytest.mark.parametrize(
    "name", ["timm/hf-hub:timm/resnet18", "hf-hub:timm/resnet18", "timm/local-dir:x", "torchvision/fcn_resnet50", "os.system", "../x"]
)
def test_no_name_reaches_a_hub_a_folder_or_another_kind_of_model(name: str) -> None:
    with pytest.raises(models.ModelError):
        models.resolve(name)


@pytest.mark.parametrize("argument", ["pretrained", "checkpoint_path", "weights", "pretrained_cfg"])
def test_no_argument_fetches(argument: str) -> None:
    for name in ("timm/resnet18", "torchvision/resnet18"):
        with pytest.raises(models.ModelError, match="fetch"):
            models.build(name, **{argument: True})


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(models.ModelError, match="did you mean 'num_classes'"):
        models.build("timm/resnet18", num_clases=3)
    with pytest.raises(models.ModelError, match="needs vocab_size, context"):
        models.build("liandan/gpt", width=64)
    with pytest.raises(models.ModelError, match="torchvision/vit_b_16 could not be built"):
        models.build("torchvision/vit_b_16", image_size=17)  # not a multiple of the patch


def test_accepts() -> None:
    assert models.accepts("timm/resnet18", "in_chans") and models.accepts("timm/hrnet_w18", "num_classes")
    assert models.accepts("torchvision/resnet18", "num_classes") and not models.accepts("torchvision/resnet18", "in_chans")
    assert models.accepts("liandan/gpt", "vocab_size") and not models.accepts("liandan/gpt", "num_classes")
    assert models.accepts("timm/vit_tiny_patch16_224", "img_size") and not models.accepts("timm/resnet18", "img_size")
    assert models.accepts("timm/deit_tiny_distilled_patch16_224", "drop_rate")  # declared by a base class


def test_every_name_resolves_to_a_signature_with_classes() -> None:
    listed = models.names("torchvision/*") + models.names("timm/test_*") + models.names("timm/tf_efficientnet_*")
    assert len(listed) > 100
    for name in listed:
        parameters = inspect.signature(models.resolve(name)).parameters
        assert "num_classes" in parameters and "pretrained" not in parameters and "weights" not in parameters, name


def test_names_by_wildcard() -> None:
    assert models.names("liandan/*") == list(models.NAMES)
    assert models.names("resnet18") == ["timm/resnet18", "torchvision/resnet18"]
    assert "timm/tf_efficientnet_lite0" in models.names("timm/*lite0")
    assert not [n for n in models.names("torchvision/*") if "rcnn" in n or "deeplab" in n or "r3d" in n or "quantized" in n]
    assert len(models.names()) > 1000


def test_defaults_are_the_models_own() -> None:
    lite = models.defaults("timm/tf_efficientnet_lite0")
    assert lite == {"size": 224, "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.875, "interpolation": "bicubic", "channels": 3}
    resnet = models.defaults("torchvision/resnet18")
    assert resnet["mean"] == [0.485, 0.456, 0.406] and resnet["crop_pct"] == 224 / 256 and resnet["interpolation"] == "bilinear"
    assert models.defaults("torchvision/inception_v3")["size"] == 299
    assert models.defaults("liandan/lenet5")["size"] == 32 and models.defaults("liandan/lenet5")["channels"] == "auto"
    assert models.defaults("liandan/dcgan")["mean"] == [0.5]
    models.defaults("liandan/dcgan")["size"] = 1
    assert models.defaults("liandan/dcgan")["size"] == 32  # a copy
