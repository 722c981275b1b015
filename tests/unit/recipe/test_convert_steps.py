"""Image pipelines of Python configs as the steps of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from liandan.recipe import load_recipe
from liandan.recipe.convert_steps import OPERATIONS, STEPS
from tests.unit.recipe.python_configs import IMAGENET, TEXT, converted, fault, values


def steps(*pipeline: str, split: str = "train", **options: Any) -> list[dict[str, Any]]:
    name = {"train": "train_pipeline", "eval": "val_pipeline"}[split]
    normalize = "dict(type='Normalize', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)"
    made = values(converted(**{name: f"[{', '.join([*pipeline, normalize])}]"}))["data"]["transforms"][split]
    assert made[-2:] == [{"name": "to_float"}, IMAGENET] or options.get("late")
    return made if options.get("late") else made[:-2]


@pytest.mark.parametrize(
    ("written", "training", "validation"),
    [
        ("dict(type='LoadImageFromFile', to_float32=True)", [], []),
        (
            "dict(type='RandomCrop', size=32, padding=4, pad_val=[1, 2, 3])",
            [{"name": "random_crop", "size": [32, 32], "padding_mode": "constant", "fill": [3, 2, 1], "padding": 4}],
            [{"name": "center_crop", "size": [32, 32]}],
        ),
        (
            "dict(type='RandomCrop', size=(24, 32), pad_if_needed=True)",
            [{"name": "random_crop", "size": [24, 32], "padding_mode": "constant", "fill": 0, "pad_if_needed": True}],
            [{"name": "center_crop", "size": [24, 32]}],
        ),
        (
            "dict(type='RandomResizedCrop', size=224, scale=(0.2, 1.0))",
            [{"name": "random_resized_crop", "size": [224, 224], "scale": [0.2, 1], "ratio": [3 / 4, 4 / 3], "interpolation": "bilinear"}],
            [{"name": "resize", "size": 256, "interpolation": "bilinear"}, {"name": "center_crop", "size": [224, 224]}],
        ),
        ("dict(type='RandomFlip', flip_prob=0.3, direction='vertical')", [{"name": "random_vertical_flip", "p": 0.3}], []),
        ("dict(type='RandomGrayscale', gray_prob=0.2)", [{"name": "random_grayscale", "p": 0.2}], []),
        (
            "dict(type='RandomErasing', erase_prob=0.2, mode='const', fill_color=(1, 2, 3), aspect_range=0.5)",
            [{"name": "random_erasing", "p": 0.2, "scale": [0.02, 0.4], "ratio": [0.5, 2.0], "value": [3, 2, 1]}],
            [],
        ),
        ("dict(type='Resize', size=32)", [{"name": "resize", "size": [32, 32], "interpolation": "bilinear"}], ...),
        (
            "dict(type='Resize', size=(256, -1), interpolation='bicubic', backend='pillow')",
            [{"name": "resize", "size": 256, "interpolation": "bicubic"}],
            ...,
        ),
        (
            "dict(type='Resize', size=(256, -1), adaptive_side='long')",
            [{"name": "resize", "size": None, "max_size": 256, "interpolation": "bilinear"}],
            ...,
        ),
        ("dict(type='CenterCrop', crop_size=(192, 224))", [{"name": "center_crop", "size": [192, 224]}], ...),
        (
            "dict(type='CenterCrop', crop_size=224, efficientnet_style=True, crop_padding=0)",
            [{"name": "resize", "size": 224, "interpolation": "bilinear"}, {"name": "center_crop", "size": [224, 224]}],
            ...,
        ),
        (
            "dict(type='ColorJitter', brightness=0.4, contrast=0.3, saturation=0.2)",
            [{"name": "color_jitter", "brightness": 0.4, "contrast": 0.3, "saturation": 0.2}],
            [],
        ),
        (
            "dict(type='Lighting', eigval=[55.4625, 4.794, 1.1475], eigvec=[[1, 0, 0], [0, 1, 0], [0, 0, 1]], to_rgb=False)",
            [{"name": "lighting", "eigval": [55.4625, 4.794, 1.1475], "eigvec": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "alphastd": 0.1}],
            [],
        ),
        (
            "dict(type='RandAugment', policies=[dict(type='Invert'), dict(type='Rotate', magnitude_key='angle', magnitude_range=(0, 30))],"
            " num_policies=2, total_level=10, magnitude_level=9, magnitude_std=0.5, hparams=dict(pad_val=[104, 116, 124]))",
            [
                {
                    "name": "augment_policies",
                    "policies": [
                        {"name": "Invert"},
                        {"name": "Rotate", "pad_val": [124, 116, 104], "magnitude_range": [0, 30]},
                    ],
                    "num_policies": 2,
                    "magnitude_level": 9,
                    "magnitude_std": 0.5,
                    "total_level": 10,
                }
            ],
            [],
        ),
        (
            "dict(type='AutoAugment', policies=[[dict(type='Posterize', bits=4, prob=0.4), dict(type='Equalize', prob=0.6)]])",
            [
                {
                    "name": "augment_policies",
                    "policies": [[{"name": "Posterize", "bits": 4, "prob": 0.4}, {"name": "Equalize", "prob": 0.6}]],
                    "num_policies": 1,
                }
            ],
            [],
        ),
        (
            "dict(type='Solarize', thr=128, prob=0.3)",
            [{"name": "augment_policies", "policies": [{"name": "Solarize", "thr": 128, "prob": 0.3}], "num_policies": 1}],
            [],
        ),
        (
            "dict(type='Compose', transforms=[dict(type='RandomFlip'), dict(type='ToTensor', keys=['gt_label'])])",
            [{"name": "random_horizontal_flip", "p": 0.5}],
            [],
        ),
        ("dict(type='Collect', keys=['img', 'gt_label'])", [], []),
        ("dict(type='ToHalf', keys=['img'])", [], []),
    ],
)
def test_what_a_step_becomes_in_training_and_in_validation(written: str, training: Any, validation: Any):
    assert steps(written) == training
    assert steps(written, split="eval") == (training if validation is ... else validation)


def test_every_type_of_the_registry_is_known():
    own = {
        "LoadImageFromFile", "RandomCrop", "RandomResizedCrop", "RandomGrayscale", "RandomFlip", "RandomErasing", "Pad", "Resize",
        "CenterCrop", "Normalize", "ColorJitter", "Lighting", "Albu", "AutoAugment", "RandAugment", "ToTensor", "ImageToTensor",
        "Transpose", "ToPIL", "ToNumpy", "Collect", "WrapFieldsToLists", "ToHalf", "Compose",
    }  # fmt: skip
    policies = {
        "Shear", "Translate", "Rotate", "AutoContrast", "Invert", "Equalize", "Solarize", "SolarizeAdd", "Posterize", "Contrast",
        "ColorTransform", "Brightness", "Sharpness", "Cutout",
    }  # fmt: skip
    assert set(STEPS) == own | policies and set(OPERATIONS) == policies


def test_noise_of_the_datas_own_colors_is_standard_noise_behind_normalize():
    erase = "dict(type='RandomErasing', mode='rand', fill_color=[103.53, 116.28, 123.675], fill_std=[57.375, 57.12, 58.395])"
    made = steps(erase, late=True)
    assert [step["name"] for step in made] == ["to_float", "normalize", "random_erasing"] and made[-1]["value"] == "random"


def test_colors_of_a_bgr_model_are_put_in_order_and_it_is_said():
    bgr = "[dict(type='Normalize', mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], to_rgb=False)]"
    found = converted(train_pipeline=bgr, val_pipeline=bgr)
    assert values(found)["data"]["transforms"]["eval"] == [{"name": "to_float"}, IMAGENET]
    assert any("to_rgb=False" in note for note in found.notes)
    assert any("trained on BGR" in note for note in found.notes), "the config loads weights"


def test_grey_images_make_a_model_of_one_channel():
    gray = "[dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='Normalize', mean=[33.405], std=[78.795], to_rgb=False)]"
    found = values(converted(train_pipeline=gray, val_pipeline=gray))
    assert found["model"]["in_chans"] == 1 and found["data"]["transforms"]["eval"][-1]["mean"] == [0.131]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("dict(type='Mosaic')", "train_pipeline[0]: Mosaic"),
        ("dict(type='RandomFilp')", 'did you mean "RandomFlip"?'),
        ("dict(type='RandomFlip', prob=0.5)", "train_pipeline[0]: RandomFlip.prob"),
        ("dict(type='RandomResizedCrop', scale=384)", "a value for size"),
        ("dict(type='Pad', size=(32, 32))", "center_crop pads an image that is smaller"),
        ("dict(type='Albu', transforms=[])", "albumentations is not used here"),
        ("dict(type='Resize', size=(256, -1), adaptive_side='height')", "adaptive_side"),
        ("dict(type='RandomCrop', size=32, padding_mode='wrap')", "padding_mode"),
        ("dict(type='RandomResizedCrop', size='big')", "arguments that RandomResizedCrop takes"),
        ("dict(type='RandAugment', policies=[dict(type='Blur')], num_policies=2, magnitude_level=9)", "the policy Blur"),
        ("dict(type='Rotate', angle=30, scale=2)", "train_pipeline[0]: Rotate.scale"),
        ("dict(type='Cutout', shape=(8, 9))", "Cutout.shape"),
        ("dict(type='RandAugment', policies=[dict(type='Rotate', magnitude_key='x')], num_policies=1, magnitude_level=1)", "magnitude_key"),
        ("'RandomFlip'", "a step, dict(type=..., arguments)"),
    ],
)
def test_a_step_without_a_counterpart_is_one_fault_that_an_override_answers(written: str, said: str, tmp_path: Path):
    line = len(f"{TEXT}\n".splitlines()) + 1
    made = fault(converted(train_pipeline=f"[{written}, *val_pipeline]"))
    assert said in made and made.startswith(f"c.py:{line}  data.transforms.train")
    path = tmp_path / "c.py"
    path.write_text(f"{TEXT}\ntrain_pipeline = [{written}]\n", encoding="utf-8")
    recipe = load_recipe(path, ["data.transforms.train=[{name: resize, size: [380, 380]}]"])
    assert recipe.data.transforms.train[0].name == "resize"  # pyright: ignore


