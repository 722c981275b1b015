"""Stamps: the real package as classes and captions; scenes from stamps of one color, where the truth can be read off the pixels."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import masks_to_boxes

from liandan.data.readers import read
from liandan.sources import SOURCES, scenes, stamps
from liandan.sources.store import _list, _obtain
from liandan.sources.unpack import unpack
from tests.unit.sources.conftest import environment, skip_offline
from tests.unit.sources.test_catalogue import digest

COLORS = {"animals": (255, 0, 0), "food": (0, 255, 0), "people": (0, 0, 255)}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Six stamps a class, each a rectangle or a ring of the class's color in a transparent margin."""
    for name, color in COLORS.items():
        folder = tmp_path / "raw" / "usr" / "share" / "stamps" / name / "细类"
        folder.mkdir(parents=True)
        for i in range(6):
            stamp = np.zeros((60, 40 + 4 * i, 4), np.uint8)
            stamp[5:-5, 5:-5] = (*color, 255)
            if i % 2:
                stamp[25:30, 15:20] = 0
            Image.fromarray(stamp).save(folder / f"{i}{'_mirror' * (i == 5)}.png")
        (folder / "5_mirror.png").rename(folder / "4_mirror.png")
    return tmp_path / "raw"


def load(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)


def decoded(runs: list[int], size: list[int]) -> np.ndarray:
    """COCO's definition: runs of zeros and ones in turn, down the columns."""
    height, width = size
    return np.repeat(np.arange(len(runs)) % 2, runs).reshape(width, height).T.astype(bool)


def test_the_alpha_is_the_truth(raw: Path, tmp_path: Path):
    made = tmp_path / "made"
    stamps.scenes(raw, made, count=24, size=96)
    seen = Counter()
    for part, count in (("train", 24), ("val", 6)):
        coco = json.loads((made / part / "annotations.json").read_text(encoding="utf-8"))
        assert [category["name"] for category in coco["categories"]] == list(COLORS)
        assert [image["file_name"] for image in coco["images"]] == [f"{i:06d}.png" for i in range(count)]
        for image in coco["images"]:
            pixels, mask = (load(made / part / folder / image["file_name"]) for folder in ("images", "masks"))
            assert pixels.shape == (96, 96, 3) and mask.shape == (96, 96)
            assert (image["width"], image["height"]) == (96, 96)
            total = np.zeros((96, 96), int)
            for row in (row for row in coco["annotations"] if row["image_id"] == image["id"]):
                instance = decoded(row["segmentation"]["counts"], row["segmentation"]["size"])
                left, top, right, bottom = masks_to_boxes(torch.from_numpy(instance)[None])[0].tolist()
                assert row["bbox"] == [left, top, right - left + 1, bottom - top + 1]
                assert row["area"] == instance.sum() > 0 and row["iscrowd"] == 0
                assert (mask[instance] == row["category_id"]).all()
                total += instance
                seen[row["category_id"]] += 1
            assert np.array_equal(total, mask > 0)  # the instances do not overlap and are all of the mask
            solid = np.zeros((96, 96), int)
            for number, color in enumerate(COLORS.values(), 1):
                solid[(pixels == color).all(-1)] = number
            assert (mask[solid > 0] == solid[solid > 0]).all()  # where a stamp is opaque, it is in the mask
            assert ((mask > 0) & (solid == 0)).sum() <= 0.15 * (mask > 0).sum()  # the rest are the soft edges of the rings' holes
    assert min(seen[i] for i in (1, 2, 3)) >= 5
    ids = [row["id"] for row in coco["annotations"]]
    assert len(set(ids)) == len(ids)


def test_a_pixel_belongs_to_a_stamp_from_half_opaque_on(tmp_path: Path):
    for name, alpha in (("animals", 127), ("food", 128)):
        for i in range(5):
            (tmp_path / "raw" / "stamps" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((20, 30, 4), alpha, np.uint8)).save(tmp_path / "raw" / "stamps" / name / f"{i}.png")
    stamps.scenes(tmp_path / "raw", tmp_path / "made", count=12, size=64)
    rows = json.loads((tmp_path / "made" / "train" / "annotations.json").read_text(encoding="utf-8"))["annotations"]
    assert rows and {row["category_id"] for row in rows} == {2}
    assert any(row["area"] == row["bbox"][2] * row["bbox"][3] for row in rows)


def test_scenes_are_the_same_each_time_and_the_first_ones_whatever_the_count(raw: Path, tmp_path: Path):
    for name, count in (("a", 8), ("b", 8), ("c", 4)):
        stamps.scenes(raw, tmp_path / name, count=count, size=64)
    assert _list(tmp_path / "a") == _list(tmp_path / "b")
    for path in (tmp_path / "c" / "train").glob("*/*.png"):
        assert path.read_bytes() == (tmp_path / "a" / path.relative_to(tmp_path / "c")).read_bytes()


def test_no_stamp_and_no_mirror_image_is_on_both_sides(raw: Path):
    names, pools = scenes.split(stamps.paths(raw))
    assert names == list(COLORS)
    for k in range(3):
        train, val = ({path.stem.removesuffix("_mirror") for path in pools[part][k]} for part in ("train", "val"))
        assert train and val and not train & val and len(train | val) == 5


def test_run_lengths_begin_with_zeros_and_go_down_the_columns():
    assert scenes.run_lengths(np.array([[0, 1], [0, 1]], bool)) == [2, 2]
    assert scenes.run_lengths(np.array([[1, 0], [0, 1]], bool)) == [0, 1, 2, 1]
    assert scenes.run_lengths(np.zeros((2, 2), bool)) == [4]
    assert scenes.run_lengths(np.ones((2, 2), bool)) == [0, 4]


@pytest.fixture(scope="module")
def package(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """The package is unpacked once; each call gives a tree of its own, of links to the files, that a prepare function may move."""
    source = SOURCES["tuxpaint-stamps-captions"]
    with environment(LIANDAN_HOME=str(shared)), skip_offline():
        archives = _obtain(source, lambda what, done, total: None)
    unpacked = tmp_path_factory.mktemp("package") / "raw"
    for archive in archives:
        unpack(archive, unpacked, source.wanted)

    def copy() -> Path:
        return Path(shutil.copytree(unpacked, tmp_path_factory.mktemp("copy") / "raw", copy_function=os.link))

    return copy


@pytest.mark.slow  # the package takes ten seconds to unpack
def test_the_real_stamps_as_classes(package: Callable[[], Path], tmp_path: Path):
    stamps.classes(package(), tmp_path / "stamps")
    data = read(tmp_path / "stamps")
    assert data.format == "class_folders" and len(data) == 796
    counts = dict(zip(data.labels, np.bincount(data.targets).tolist(), strict=True))
    assert len(counts) == 16 and {name: counts[name] for name in ("animals", "food", "plants", "symbols", "town")} == {
        "animals": 146, "food": 67, "plants": 39, "symbols": 247, "town": 79,
    }  # fmt: skip
    assert all(data.image(i).shape[0] == 3 for i in range(0, 796, 50))
    assert digest(tmp_path / "stamps") == "d243563b2d15c253"


@pytest.mark.slow  # the package takes ten seconds to unpack
def test_the_real_captions(package: Callable[[], Path], tmp_path: Path):
    folder = tmp_path / "captions"
    stamps.captions(package(), folder)
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 785 and sum(row["caption_zh"] is not None for row in rows) == 752
    assert all(list(row) == ["image", "caption", "caption_zh"] and row["caption"] for row in rows)
    assert {row["image"] for row in rows} == {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}
    by_image = {row["image"]: row for row in rows}
    assert by_image["images/animals/birds/adelaide-rosella.png"]["caption"] == "An Adelaide Rosella."
    assert by_image["images/animals/birds/adelaide-rosella.png"]["caption_zh"] == "阿德莱德罗塞拉。"


@pytest.mark.slow  # the package takes ten seconds to unpack
def test_the_real_scenes(package: Callable[[], Path], tmp_path: Path):
    folder = tmp_path / "scenes"
    stamps.scenes(package(), folder, count=40, size=128)
    coco = json.loads((folder / "train" / "annotations.json").read_text(encoding="utf-8"))
    assert len(coco["categories"]) == 16 and len(coco["images"]) == 40 and 40 <= len(coco["annotations"]) <= 160
    assert len(list((folder / "val" / "masks").glob("*.png"))) == 10
    assert len({row["category_id"] for row in coco["annotations"]}) >= 14
