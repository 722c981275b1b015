"""One small run on photographs, trained once, with Chinese class names."""

from __future__ import annotations

from pathlib import Path

import pytest

import liandan
from tests.unit.deploy.photos import CLASSES, photograph


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("照片")
    for label in CLASSES:
        (folder / label).mkdir()
        for number in range(24):
            photograph(label, number).save(folder / label / f"图 {number}.png")
    return folder


@pytest.fixture(scope="session")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> liandan.api.Run:
    values = {
        "version": 1, "task": "image_classification", "name": "patches",
        "data": {
            "train": str(photos), "val": {"hold_out": 0.25}, "workers": 0,
            "transforms": {"train": [{"name": "resize", "size": [32, 32]}, "to_float", {"name": "normalize", "mean": [0.5], "std": [0.5]}],
                           "eval": [{"name": "resize", "size": [32, 32]}, "to_float", {"name": "normalize", "mean": [0.5], "std": [0.5]}]},
        },
        "model": {"name": "liandan/lenet5", "norm": True},
        "optimizer": {"name": "adamw", "lr": 3e-3},
        "train": {"duration": {"steps": 30}, "batch_size": 12, "threads": 1},
        "evaluate": {"every": {"steps": 15}, "metrics": ["accuracy", "recall:猫", "auc"]},
        "run": {"dir": str(tmp_path_factory.mktemp("run") / "patches")},
    }  # fmt: skip
    return liandan.train(liandan.recipe.make_recipe(values))
