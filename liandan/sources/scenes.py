"""Scenes of stamps pasted on noise, whose boxes and masks are known to the pixel."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_SEED = 0
_MOST = 4  # stamps in a scene
_TRIES = 10  # places for a stamp before it is left out of a scene
_VISIBLE = 0.5  # of a stamp's pixels must stay visible whatever is pasted over it
_OPAQUE = 128  # alpha from which on a pixel belongs to the stamp


def make(stamps: dict[str, Path], made: Path, count: int, size: int) -> None:
    """What stamps.scenes says, from the files of the stamps by their paths below the class folders."""
    categories, pools = split(stamps)
    for number, (part, pool) in enumerate(pools.items()):
        folder = made / part
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True)
        coco: dict[str, Any] = {
            "info": {"description": "Tux Paint stamps on noise"},
            "categories": [{"id": i, "name": name} for i, name in enumerate(categories, 1)],
            "images": [],
            "annotations": [],
        }
        for index in range(count if part == "train" else max(1, count // 4)):
            # RandomState: numpy promises its stream for good
            random = np.random.RandomState([_SEED, number, index])
            _write(folder, coco, index, *_scene(random, pool, size))
        (folder / "annotations.json").write_text(json.dumps(coco, ensure_ascii=False), encoding="utf-8")


def split(stamps: dict[str, Path]) -> tuple[list[str], dict[str, list[list[Path]]]]:
    """The class names, and for each part the files of each class: a fifth of a class, chosen by a hash of the name, is for `val`."""
    groups: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for name, path in stamps.items():
        groups[name.split("/")[0]][name.removesuffix(".png").removesuffix("_mirror")].append(path)
    names = sorted(groups)
    pools: dict[str, list[list[Path]]] = {"train": [], "val": []}
    for name in names:
        order = sorted(groups[name], key=lambda stamp: hashlib.sha256(stamp.encode()).digest())
        held = max(1, len(order) // 5)
        for part, some in (("val", order[:held]), ("train", order[held:])):
            pools[part].append([path for stamp in some for path in groups[name][stamp]])
    return names, pools


def _scene(random: np.random.RandomState, pool: list[list[Path]], size: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """One scene: pixels uint8 (size, size, 3), the number of the stamp at each pixel uint8 (size, size) or 0, and each stamp's category."""
    image = _noise(random, size)
    owner = np.zeros((size, size), np.uint8)
    own: list[int] = [0]  # pixels of each stamp when it was pasted
    kinds: list[int] = []
    for _ in range(random.randint(1, _MOST + 1)):
        category = random.randint(len(pool))
        stamp = _fit(pool[category][random.randint(len(pool[category]))], max(4, int(size * random.uniform(0.25, 0.55))))
        height, width, _ = stamp.shape
        opaque = stamp[..., 3] >= _OPAQUE
        for _ in range(_TRIES if opaque.any() else 0):
            y, x = random.randint(size - height + 1), random.randint(size - width + 1)
            covered = owner.copy()
            covered[y : y + height, x : x + width][opaque] = len(own)
            left = np.bincount(covered.ravel(), minlength=len(own) + 1)
            if all(left[i] >= _VISIBLE * own[i] for i in range(1, len(own))):
                alpha = stamp[..., 3:].astype(np.float32) / 255
                under = image[y : y + height, x : x + width]
                under[:] = np.rint(under * (1 - alpha) + stamp[..., :3] * alpha)
                owner = covered
                own.append(int(opaque.sum()))
                kinds.append(category + 1)
                break
    return image, owner, kinds


def _noise(random: np.random.RandomState, size: int) -> np.ndarray:
    """Colored noise uint8 (size, size, 3): octaves of random grids, smoothly enlarged, each half as strong as the one before."""
    total = np.zeros((size, size, 3), np.float32)
    for octave in range(1, 6):
        grid = random.randint(0, 256, (2**octave, 2**octave, 3)).astype(np.uint8)
        total += np.asarray(Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC), np.float32) / 2**octave
    low, high = total.min(), total.max()
    return np.rint((total - low) / (high - low) * 255).astype(np.uint8)


def _fit(path: Path, side: int) -> np.ndarray:
    """A stamp as uint8 (height, width, 4), its longer side `side` pixels, trimmed to what is not fully transparent."""
    with Image.open(path) as opened:
        stamp = opened.convert("RGBA")
    stamp = stamp.crop(stamp.getchannel("A").getbbox())
    scale = side / max(stamp.size)
    return np.asarray(stamp.resize((max(1, round(stamp.width * scale)), max(1, round(stamp.height * scale))), Image.Resampling.LANCZOS))


def _write(folder: Path, coco: dict[str, Any], index: int, pixels: np.ndarray, owner: np.ndarray, kinds: list[int]) -> None:
    name = f"{index:06d}.png"
    Image.fromarray(pixels).save(folder / "images" / name)
    Image.fromarray(np.array([0, *kinds], np.uint8)[owner]).save(folder / "masks" / name)
    coco["images"].append({"id": index + 1, "file_name": name, "width": pixels.shape[1], "height": pixels.shape[0]})
    for number, category in enumerate(kinds, 1):
        mask = owner == number
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        top, left = int(rows[0]), int(columns[0])
        coco["annotations"].append(
            {
                "id": len(coco["annotations"]) + 1,
                "image_id": index + 1,
                "category_id": category,
                "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
                "area": int(mask.sum()),
                "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
                "iscrowd": 0,
            }
        )


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed run lengths of a boolean (height, width) mask: down the columns, the first run is of zeros."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs
