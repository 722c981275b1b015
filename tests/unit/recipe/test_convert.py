"""Python configs as recipes: what each thing in them becomes, and that nothing is left out in silence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from liandan.recipe import RecipeError, load_recipe, to_yaml, variants
from liandan.recipe.backbones import BACKBONES
from liandan.recipe.convert import convert
from liandan.recipe.document import Document, Node, plant
from liandan.recipe.explain import validate
from liandan.recipe.python_config import NAMES, parse_python_config, read_python_config
from tests.unit.recipe.python_configs import CONFIG, IMAGENET, TEXT, converted, fault, values


def test_golden_the_whole_recipe_of_a_config():
    found = values(converted())
    weights = "C:/Users/zhangtong/Desktop/rock_identification/datas/efficientnet-b4_3rdparty_8xb32_in1k_20220119-81fd4077.pth"
    end = [{"name": "to_float"}, IMAGENET]
    crop = {"size": [380, 380], "scale": [0.08, 1.0], "ratio": [3 / 4, 4 / 3], "interpolation": "bicubic"}
    assert found == {
        "version": 1,
        "task": "image_classification",
        "name": "c",
        "data": {
            "train": {"path": "datas/train.txt", "format": "annotations", "classes": "datas/annotations.txt"},
            "val": {"path": "datas/test.txt", "format": "annotations", "classes": "datas/annotations.txt"},
            "transforms": {
                "train": [{"name": "random_resized_crop", **crop}, {"name": "random_horizontal_flip", "p": 0.5}, *end],
                # 380 / (380 + 32) of the shorter side, which is timm's crop_pct of 0.922 for this network
                "eval": [{"name": "resize", "size": 412, "interpolation": "bicubic"}, {"name": "center_crop", "size": [380, 380]}, *end],
            },
            "workers": 4,
        },
        "model": {"name": "timm/tf_efficientnet_b4", "weights": weights, "freeze": ["backbone"]},
        "loss": {"name": "cross_entropy"},
        "optimizer": {"name": "sgd", "lr": 0.1 * 4 / 256, "momentum": 0.9, "weight_decay": 1e-4, "weight_decay_on": "all"},
        "schedule": {"name": "step", "milestones": [30, 60, 90], "gamma": 0.1},
        "train": {"duration": {"epochs": 100}, "batch_size": 4},
        "evaluate": {"metrics": ["loss", "accuracy", "top5", "precision", "recall", "f1"]},
    }  # fmt: skip
    about = [note.partition("  ")[2].partition(":")[0] for note in converted().notes]
    assert about == ["train_pipeline[1]", "model_cfg.head.num_classes=11"]


def test_the_yaml_is_the_same_recipe(tmp_path: Path):
    recipe = load_recipe(CONFIG)
    path = tmp_path / "rocks.yaml"
    path.write_text(to_yaml(recipe.document.values), encoding="utf-8")
    assert load_recipe(path) == recipe and recipe.name == "efficientnet_b4"


def test_a_fault_found_later_names_the_line_of_the_config(tmp_path: Path):
    recipe = load_recipe(CONFIG)
    lines = TEXT.splitlines()
    number = "0"
    places = {"optimizer.lr": "lr=0.1 * 4/256", "model.weights": "pretrained_weights", "train.batch_size": "batch_size = 4"}
    for key, written in places.items():
        file, _, number = recipe.document.where(key).rpartition(":")
        assert file == "efficientnet_b4.py" and written in lines[int(number) - 1], key
    path = tmp_path / "rocks.py"
    path.write_text(TEXT.replace("batch_size = 4", "batch_size = 'four'"), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert f"rocks.py:{int(number)}  train.batch_size" in str(caught.value) and '"four" (text)' in str(caught.value)


def test_data_of_the_command_line_takes_the_place_of_both_lists():
    recipe = load_recipe(CONFIG, ["data.train=照片/"])
    assert recipe.data.train.path == "照片/" and recipe.data.train.format is None
    assert recipe.data.val is not None and recipe.data.val.model_dump() == {"hold_out": 0.2, "stratify": True}
    assert any("a fifth of every class is held out" in note for note in recipe.document.notes)
    other = load_recipe(CONFIG, ["data.train=photos/", "data.val=others/"])
    assert other.data.val is not None and other.data.val.model_dump()["path"] == "others/"
    assert not any("held out" in note for note in other.document.notes)


# ----------------------------------------------------------------------------------------------------------------- model


def test_the_table_has_every_backbone_of_the_reference():
    assert len(BACKBONES) == 49
    nowhere = {name for name, family in BACKBONES.items() if not family.variants}
    assert nowhere == {
        "Conformer", "HorNet", "MixMIMTransformer", "RepLKNet", "RevVisionTransformer", "ShuffleNetV1", "T2T_ViT", "VAN",
    }  # fmt: skip
    assert all(BACKBONES[name].why for name in nowhere)


def test_every_model_of_the_table_is_there_and_takes_its_arguments():
    import inspect

    from liandan import models

    known = set(models.names())
    for kind, family in BACKBONES.items():
        for key, variant in family.variants.items():
            name, arguments = variant if isinstance(variant, tuple) else (variant, {})
            assert name in known, (kind, key)
            size = {"img_size": None} if "img_size" in family.by else {}
            passed = {target: None for targets in family.passed.values() for target in targets}
            taken = inspect.signature(models.resolve(name)).parameters
            open_ended = any(p.kind is p.VAR_KEYWORD for p in taken.values())
            missing = [argument for argument in {**arguments, **size, **passed} if argument not in taken]
            assert open_ended or not missing, (name, missing)


PUBLISHED = {  # parameters, with 1000 classes, that mmpretrain publishes for its own networks
    "timm/tf_efficientnet_b4": 19_341_616, "timm/tf_efficientnetv2_s": 21_458_488, "timm/convnext_tiny": 28_589_128,
    "timm/densenet121": 7_978_856, "timm/deit_tiny_distilled_patch16_224": 5_910_800, "timm/deit3_small_patch16_224": 22_059_496,
    "timm/poolformer_s12": 11_915_176, "timm/edgenext_xx_small": 1_327_216, "timm/mvitv2_tiny": 24_173_320, "timm/davit_tiny": 28_360_168,
    "timm/convmixer_768_32": 21_110_248, "timm/tiny_vit_5m_224": 5_392_764, "timm/beit_base_patch16_224": 86_530_984,
    "timm/vit_base_patch16_224": 86_567_656,
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_named_model_has_as_many_parameters_as_the_reference_says(name: str):
    import torch

    from liandan import models

    with torch.device("meta"):
        model = models.build(name, num_classes=1000)
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED[name]


@pytest.mark.parametrize(
    ("backbone", "model"),
    [
        ("type='EfficientNet', arch='es', act_cfg=dict(type='ReLU')", {"name": "timm/tf_efficientnet_es"}),
        ("type='ResNet', depth=50, num_stages=4, out_indices=(3,), style='pytorch'", {"name": "timm/resnet50"}),
        (
            "type='ResNet', depth=50, num_stages=4, out_indices=(3,), stem_channels=64, base_channels=128, expansion=2, style='pytorch'",
            {"name": "timm/wide_resnet50_2"},
        ),
        ("type='ResNeXt', depth=101, groups=32, width_per_group=8", {"name": "timm/resnext101_32x8d"}),
        ("type='Res2Net', depth=50, scales=8, base_width=26, deep_stem=False, avg_down=False", {"name": "timm/res2net50_26w_8s"}),
        ("type='VGG', depth=16, norm_cfg=dict(type='BN'), num_classes=1000", {"name": "torchvision/vgg16_bn"}),
        ("type='VGG', depth=16", {"name": "torchvision/vgg16"}),
        ("type='ConvNeXt', arch='tiny', drop_path_rate=0.1", {"name": "timm/convnext_tiny", "drop_path_rate": 0.1}),
        (
            "type='SwinTransformer', arch='b', img_size=384, stage_cfgs=dict(block_cfgs=dict(window_size=12))",
            {"name": "timm/swin_base_patch4_window12_384"},
        ),
        (
            "type='SwinTransformerV2', arch='base', img_size=384, window_size=[16, 16, 16, 8]",
            {"name": "timm/swinv2_base_window16_256", "img_size": 384},
        ),
        (
            "type='VisionTransformer', arch='b', img_size=224, patch_size=32, drop_rate=0.1",
            {"name": "timm/vit_base_patch32_224", "pos_drop_rate": 0.1, "proj_drop_rate": 0.1},
        ),
        ("type='VisionTransformer', arch='b', img_size=448", {"name": "timm/vit_base_patch16_224", "img_size": 448}),
        ("type='TinyViT', arch='21m', img_size=(384, 384), window_size=[12, 12, 24, 12]", {"name": "timm/tiny_vit_21m_384"}),
        ("type='RepVGG', arch='A0', out_indices=(3,)", {"name": "timm/repvgg_a0"}),
        ("type='LeNet5', num_classes=10", {"name": "liandan/lenet5", "activation": "tanh", "pool": "avg"}),
        ("type='MobileNetV2', widen_factor=1", {"name": "timm/mobilenetv2_100"}),
    ],
)
def test_what_a_backbone_becomes(backbone: str, model: dict[str, Any]):
    found = converted(model_cfg=f"dict(backbone=dict({backbone}), neck=None, head=dict(type='ClsHead'))")
    assert {k: v for k, v in values(found)["model"].items() if k not in ("weights", "freeze")} == model
    assert not [note for note in found.notes if "backbone" in note]


@pytest.mark.parametrize(
    ("backbone", "said"),
    [
        ("type='Conformer', arch='tiny'", "neither timm nor torchvision has this network"),
        ("type='ResNeXt', depth=152", "ResNeXt(depth=152, groups=32, width_per_group=4)"),
        ("type='RepVGG', arch='B1g2'", "B1g2, B2g2 and B3g2"),
        ("type='RepLKNet', arch='31XL'", "neither timm nor torchvision"),
        ("type='EfficientNet'", "EfficientNet(arch=None)"),
        ("type='EfficentNet', arch='b4'", 'did you mean "EfficientNet"?'),
        ("arch='b4'", "model_cfg.backbone.type: null"),
    ],
)
def test_a_backbone_without_a_counterpart_is_one_fault_that_another_name_answers(backbone: str, said: str, tmp_path: Path):
    head = "head=dict(type='LinearClsHead', loss=dict(type='CrossEntropyLoss'))"
    text = f"dict(backbone=dict({backbone}), neck=None, {head})"
    assert said in fault(converted(model_cfg=text)) and "  model.name\n" in fault(converted(model_cfg=text))
    path = tmp_path / "c.py"
    path.write_text(f"{TEXT}\nmodel_cfg = {text}\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="model.name"):
        load_recipe(path)
    assert load_recipe(path, {"model.name": "timm/resnet18"}).model.name == "timm/resnet18"


def test_what_the_named_model_has_otherwise_is_told():
    backbone = "dict(type='ResNet', depth=50, style='caffe', init_cfg=dict(type='Kaiming'))"
    head = "dict(type='VisionTransformerClsHead', hidden_dim=3072, num_classes=5)"
    said = "\n".join(converted(model_cfg=f"dict(backbone={backbone}, head={head}, train_cfg=dict(a=1), odd=1)").notes)
    for part in ("backbone.style='caffe'", "init_cfg", "head.hidden_dim=3072", "num_classes=5", "train_cfg", "model_cfg.odd=1"):
        assert part in said, part


def test_a_type_by_itself_is_explained():
    found = variants("ResNeXt")
    assert {"depth": 50, "groups": 32, "width_per_group": 4, "model": "timm/resnext50_32x4d"} in found.rows and "152" in found.why
    assert variants("VAN").rows == [] and "neither" in variants("VAN").why
    with pytest.raises(RecipeError, match='did you mean "ResNeXt"'):
        variants("ResNext")


# ---------------------------------------------------------------------------------------------------- weights, freezing


def data_cfg(train: str = "", test: str = "", whole: str = "batch_size=4, ") -> str:
    return f"dict({whole}train=dict(epoches=3, {train}), test=dict({test}))"


def model_of(train: str) -> dict[str, Any]:
    return values(converted(data_cfg=data_cfg(train)))["model"]


def test_weights_and_freezing():
    assert model_of("pretrained_flag=False, pretrained_weights='a.pth'")["weights"] == "none"
    assert model_of("pretrained_flag=True, pretrained_weights='权重/a.pth'")["weights"] == "权重/a.pth"
    assert model_of("freeze_flag=False, freeze_layers=('backbone',)")["freeze"] == []
    assert model_of("freeze_flag=True, freeze_layers=('backbone', 'neck')")["freeze"] == ["backbone"]
    # there, text without the tuple's comma is taken for a tuple of letters
    assert model_of("freeze_flag=True, freeze_layers=('backbone')")["freeze"] == ["backbone"]
    assert "model.freeze" in fault(converted(data_cfg=data_cfg("freeze_flag=True, freeze_layers=('head',)")))


@pytest.mark.parametrize("given", ["''", "None", "'C:\\new\\table.pth'"])
def test_weights_that_no_file_can_hold_are_one_fault(given: str, tmp_path: Path):
    text = f"{TEXT}\ndata_cfg = {data_cfg(f'pretrained_flag=True, pretrained_weights={given}')}\n"
    path = tmp_path / "c.py"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert [f.key for f in caught.value.faults] == ["model.weights"] and "pretrained_weights" in str(caught.value)
    assert load_recipe(path, ["model.weights=none"]).model.weights == "none"


# -------------------------------------------------------------------------------------------------------------- learning


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("type='CrossEntropyLoss', loss_weight=1.0", {"name": "cross_entropy"}),
        ("type='CrossEntropyLoss', class_weight=[1, 2]", {"name": "cross_entropy", "class_weights": [1, 2]}),
        ("type='CrossEntropyLoss', use_sigmoid=True", {"name": "binary_cross_entropy"}),
        ("type='CrossEntropyLoss', use_soft=True", {"name": "cross_entropy"}),
        ("type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'", {"name": "cross_entropy", "label_smoothing": 0.1}),
        (
            "type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=5, mode='classy_vision'",
            {"name": "cross_entropy", "label_smoothing": 0.1 / 1.1},
        ),
    ],
)
def test_what_a_loss_becomes(written: str, expected: dict[str, Any]):
    model = f"dict(backbone=dict(type='VGG', depth=16), neck=None, head=dict(type='ClsHead', loss=dict({written})))"
    assert values(converted(model_cfg=model))["loss"] == expected


def test_label_smoothing_of_classy_vision_is_torchs():
    """ClassyVision: one-hot plus s / K, divided by its sum; cross entropy against that."""
    import torch

    logits, label, s = torch.randn(7, 5, dtype=torch.float64), torch.arange(7) % 5, 0.1
    target = torch.nn.functional.one_hot(label, 5).double() + s / 5
    expected = -(target / target.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
    found = torch.nn.functional.cross_entropy(logits, label, label_smoothing=s / (1 + s))
    assert abs(float(found - expected)) < 1e-12


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("type='SeesawLoss'", "CrossEntropyLoss"),
        ("type='CrossEntropyLoss', loss_weight=2.0", "loss_weight=2.0"),
        ("type='CrossEntropyLoss', reduction='sum'", "reduction='sum'"),
        ("type='LabelSmoothLoss', label_smooth_val=0.1, mode='multi_label'", "mode='multi_label'"),
        ("type='CrossEntropyLoss', gamma=2", "gamma=2"),
    ],
)
def test_a_loss_without_a_counterpart_is_one_fault(written: str, said: str):
    model = f"dict(backbone=dict(type='VGG', depth=16), neck=None, head=dict(type='ClsHead', loss=dict({written})))"
    assert said in fault(converted(model_cfg=model))


def test_a_fault_is_answered_by_what_is_wrong_and_not_by_its_neighbors(tmp_path: Path):
    path = tmp_path / "c.py"
    path.write_text(TEXT.replace("type='CrossEntropyLoss', loss_weight=1.0", "type='SeesawLoss'"), encoding="utf-8")
    with pytest.raises(RecipeError, match="SeesawLoss"):
        load_recipe(path, ["loss.label_smoothing=0.1"])
    for answer in ("loss={name: focal}", "loss.name=focal"):
        recipe = load_recipe(path, [answer])
        assert recipe.loss is not None and recipe.loss.name == "focal"


def test_an_optimizer_keeps_its_arguments():
    found = values(converted(optimizer_cfg="dict(type='AdamW', lr=5e-4 * 32 / 64, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05)"))
    adamw = {"name": "adamw", "lr": 2.5e-4, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.05, "weight_decay_on": "all"}
    assert found["optimizer"] == adamw
    assert "weight_decay_on" not in values(converted(optimizer_cfg="dict(type='SGD', lr=0.1)"))["optimizer"]
    assert "optimizer_cfg.type" in fault(converted(optimizer_cfg="dict(lr=0.1)"))


WARMUP = {"shape": "linear", "ratio": 1e-3, "overlap": True}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("type='StepLrUpdater', step=[30, 60, 90]", {"name": "step", "milestones": [30, 60, 90], "gamma": 0.1}),
        (
            "type='StepLrUpdater', step=25, gamma=0.9, min_lr=1e-5",
            {"name": "step", "milestones": [25, 50, 75], "gamma": 0.9, "min_lr": 1e-5},
        ),
        ("type='PolyLrUpdater', power=2, by_epoch=False", {"name": "poly", "power": 2, "min_lr": 0.0}),
        ("type='PolyLrUpdater', min_lr=1e-4", {"name": "poly", "power": 1.0, "min_lr": 1e-4, "by_epoch": True}),
        ("type='CosineAnnealingLrUpdater', min_lr=0", {"name": "cosine", "min_lr": 0, "by_epoch": True}),
        (
            "type='CosineAnnealingLrUpdater', by_epoch=False, min_lr_ratio=1e-2,"
            " warmup='linear', warmup_ratio=1e-3, warmup_iters=20, warmup_by_epoch=True",
            {"name": "cosine", "min_lr_ratio": 1e-2, "warmup": {"epochs": 20, **WARMUP}},
        ),
        (
            "type='CosineAnnealingLrUpdater', min_lr=0, warmup='exp', warmup_iters=500",
            {
                "name": "cosine",
                "min_lr": 0,
                "by_epoch": True,
                "warmup": {"steps": 500, "shape": "exponential", "ratio": 0.1, "overlap": True},
            },
        ),
        (
            "type='CosineAnnealingCooldownLrUpdater', min_lr=1e-5, cool_down_time=5, cool_down_ratio=0.2",
            {"name": "cosine_cooldown", "min_lr": 1e-5, "cool_down_ratio": 0.2, "cool_down_time": 5, "by_epoch": True},
        ),
    ],
)
def test_what_a_schedule_becomes(written: str, expected: dict[str, Any]):
    assert values(converted(lr_config=f"dict({written})"))["schedule"] == expected


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("type='CosineAnnealingLrUpdater'", "exactly one of: min_lr, min_lr_ratio"),
        ("type='CosineAnnealingLrUpdater', min_lr=0, min_lr_ratio=0.1", "exactly one of: min_lr, min_lr_ratio"),
        ("type='StepLrUpdater', step=[100], by_epoch=False", "schedule.milestones"),
        ("type='StepLrUpdater', step='never'", "schedule.milestones"),
        ("type='StepLrUpdater', step=0", "schedule.milestones"),
        ("type='StepLrUpdater', step=[3], gama=0.1", 'did you mean "gamma"?'),
        ("type='OneCycleLrUpdater'", "schedule.name"),
        ("type='PolyLrUpdater', warmup='sine', warmup_iters=3", "schedule.warmup"),
    ],
)
def test_a_schedule_without_a_counterpart_is_one_fault(written: str, said: str):
    assert said in fault(converted(lr_config=f"dict({written})"))


def test_what_says_how_long_is_asked_for():
    said = converted(data_cfg="dict(num_workers=2, train=dict(), test=dict())")
    assert [f.key for f in said.faults] == ["train.duration", "train.batch_size"]
    assert "model_cfg = dict(...)" in str(converted(model_cfg="[1]").faults[0])


# ------------------------------------------------------------------------------------------- what went wrong there, and not here


def test_validation_is_not_augmented_whatever_the_config_copies():
    """There, train.py judges every epoch on the training pipeline: the best checkpoint is chosen by luck with crops and flips."""
    for copied in ("train_pipeline", "[*train_pipeline]", "train_pipeline[:]"):
        found = converted(val_pipeline=copied)
        made = values(found)["data"]["transforms"]
        assert [step["name"] for step in made["train"]] == ["random_resized_crop", "random_horizontal_flip", "to_float", "normalize"]
        assert [step["name"] for step in made["eval"]] == ["resize", "center_crop", "to_float", "normalize"]
        assert made["eval"][0]["size"] == 412 and made["eval"][1]["size"] == [380, 380]
        said = [note for note in found.notes if "validation is never augmented" in note]
        assert len(said) == 2 and "RandomResizedCrop" in said[0] and "RandomFlip" in said[1]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("topk=(1, 5), thrs=None, average_mode='none'", ["loss", "accuracy", "top5", "support"]),
        ("topk=(1, 3), average_mode='macro'", ["loss", "accuracy", "top3", "support"]),  # macro: AttributeError there
        ("topk=1", ["loss", "accuracy", "support"]),  # a number: TypeError there
        ("topk=(5,), thrs=0.0", ["loss", "accuracy", "top5", "support"]),
        # with thresholds there, no metric is called accuracy any more, and choosing the best fails
        ("topk=(1,), thrs=(0.3, 0.5)", ["loss", "accuracy", "support", "accuracy@0.3", "accuracy@0.5"]),
    ],
)
def test_metrics(options: str, names: list[str]):
    test = f"metrics=['accuracy', 'support', 'confusion'], metric_options=dict({options})"
    assert values(converted(data_cfg=data_cfg(test=test)))["evaluate"]["metrics"] == names


def test_an_unknown_metric_is_a_fault():
    assert 'did you mean "precision"?' in fault(converted(data_cfg=data_cfg(test="metrics=['precison']")))


def test_a_config_is_not_changed_and_not_remembered_by_being_read(tmp_path: Path):
    """There, reading takes `type` out of the dicts, and two files called a.1.py and a.2.py are one cached module."""
    config = read_python_config(CONFIG)
    first, second = (Document.of(convert(config, "c.py").root).values for _ in range(2))
    assert first == second
    for name, epochs in (("a.1.py", 7), ("a.2.py", 8)):
        (tmp_path / name).write_text(TEXT.replace("epoches = 100", f"epoches = {epochs}"), encoding="utf-8")
    assert [load_recipe(tmp_path / name).train.duration.epochs for name in ("a.1.py", "a.2.py", "a.1.py")] == [7, 8, 7]


def test_an_old_config_says_what_it_lacks(tmp_path: Path):
    path = tmp_path / "old.py"
    path.write_text(TEXT.replace("model_cfg = dict", "model = dict"), encoding="utf-8")
    with pytest.raises(RecipeError, match='did you mean "model"'):
        load_recipe(path)


def replaced(node: Node, value: Any) -> Iterator[Node]:
    """The tree with each of its values in turn replaced."""
    yield plant(value, node.where)
    children = node.value.items() if isinstance(node.value, dict) else enumerate(node.value) if isinstance(node.value, list) else ()
    for key, child in children:
        for other in replaced(child, value):
            whole: Any = dict(node.value) if isinstance(node.value, dict) else list(node.value)  # pyright: ignore
            whole[key] = other
            yield Node(whole, node.where)


@pytest.mark.parametrize("value", [None, True, -1.5, 7, "x", [], [[1], {"type": "x"}], {"type": ["x"]}])
def test_no_value_in_any_place_is_more_than_faults(value: Any):
    policies = "[dict(type='RandAugment', policies=[dict(type='Rotate', magnitude_range=(0, 30))], num_policies=2, magnitude_level=9)]"
    text = f"{TEXT}\ntrain_pipeline = train_pipeline[:2] + {policies} + train_pipeline[2:]\n"
    text += "lr_config = dict(type='StepLrUpdater', step=[30], warmup='linear', warmup_iters=3)\n"
    config = parse_python_config(text, "c.py")
    for name in NAMES:
        for other in replaced(config[name], value):
            made = convert({**config, name: other}, "c.py")
            with contextlib.suppress(RecipeError):
                validate(Document.of(made.root, notes=made.notes))
