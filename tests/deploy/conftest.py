"""Small runs, trained once, and a server for each that does no test harm."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import liandan
from tests.deploy.servers import Server, serving
from tests.unit.deploy.photos import CLASSES, photograph

QUICK = {"train.duration": {"steps": 20}, "evaluate.every": {"steps": 20}, "checkpoint.every": {"steps": 20}, "train.threads": 1}


@pytest.fixture(scope="session")
def photos_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two Chinese classes, learned well."""
    folder = tmp_path_factory.mktemp("照片")
    for label in CLASSES:
        (folder / label).mkdir()
        for number in range(24):
            photograph(label, number).save(folder / label / f"图 {number}.png")
    steps = [{"name": "resize", "size": [32, 32]}, "to_float", {"name": "normalize", "mean": [0.5], "std": [0.5]}]
    values = {
        "version": 1, "task": "image_classification", "name": "patches",
        "data": {"train": str(folder), "val": {"hold_out": 0.25}, "workers": 0, "transforms": {"train": steps, "eval": steps}},
        "model": {"name": "liandan/lenet5", "norm": True}, "optimizer": {"name": "adamw", "lr": 3e-3},
        "train": {"duration": {"steps": 30}, "batch_size": 12, "threads": 1}, "evaluate": {"every": {"steps": 30}},
        "run": {"dir": str(tmp_path_factory.mktemp("run") / "图片")},
    }  # fmt: skip
    return liandan.train(liandan.recipe.make_recipe(values)).path


@pytest.fixture(scope="session")
def chat_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return liandan.train("sft/tiny", {**QUICK, "run.dir": str(tmp_path_factory.mktemp("run") / "questions")}).path


@pytest.fixture(scope="session")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return liandan.train("language_model/tiny", {**QUICK, "run.dir": str(tmp_path_factory.mktemp("run") / "poems")}).path


@pytest.fixture(scope="session")
def photo_server(photos_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(photos_run, tmp_path_factory.mktemp("serve"), "--max-body", "1") as server:
        yield server


@pytest.fixture(scope="session")
def chat_server(chat_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(chat_run, tmp_path_factory.mktemp("serve")) as server:
        yield server


@pytest.fixture(scope="session")
def pictures() -> list[bytes]:
    """PNG files, no two alike."""
    return [png(photograph(CLASSES[k % 2], 1000 + k)) for k in range(64)]


@pytest.fixture(scope="session")
def expected(photos_run: Path, pictures: list[bytes]) -> list[dict[str, Any]]:
    """What the run itself says of each picture, one at a time."""
    run = liandan.open_run(photos_run).opened
    return [run.predict([picture])[0] for picture in pictures]


def png(image: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()
