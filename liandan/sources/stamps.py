"""Tux Paint's stamps: cut-outs with alpha, sorted in folders, with captions. Classes, captions, and scenes with boxes and masks."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from liandan.sources.entry import SourceError

_SEED = 0
_MOST = 4  # stamps in a scene
_TRIES = 10  # places for a stamp before it is left out of a scene
_VISIBLE = 0.5  # of a stamp's pixels must stay visible whatever is pasted over it
_OPAQUE = 128  # alpha from which on a pixel belongs to the stamp


def _stamps(raw: Path) -> dict[str, Path]:
    """Path below the folder of stamps, posix -> file; in the order of the paths."""
    files = sorted(raw.rglob("*.png"))
    if not files:
        raise SourceError("expected stamps (*.png) in what was fetched, got none")
    top = next(parent for parent in files[0].parents if parent.name == "stamps")
    return {path.relative_to(top).as_posix(): path for path in files}


def classes(raw: Path, made: Path) -> None:
    """`<class>/**/<name>.png`, the 16 folders of the package as classes; the folders below them are a finer level."""
    for name, path in _stamps(raw).items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        path.rename(made / name)


def captions(raw: Path, made: Path) -> None:
    """`captions.jsonl`: {"image": "images/...png", "caption": ..., "caption_zh": ... or null}, and the images.

    The Chinese caption is the simplified one, else the traditional one. Stamps without any caption are left out.
    """
    rows: list[dict[str, str | None]] = []
    for name, path in _stamps(raw).items():
        text = path.with_suffix(".txt")
        if not text.is_file():
            continue
        english, *others = text.read_text(encoding="utf-8").splitlines()
        told = dict(line.split("=", 1) for line in others if "=" in line)
        chinese = told.get("zh_CN.utf8", "").strip() or told.get("zh_TW.utf8", "").strip()
        rows.append({"image": f"images/{name}", "caption": english.strip(), "caption_zh": chinese or None})
        (made / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        path.rename(made / "images" / name)
    with open(made / "captions.jsonl", "w", encoding="utf-8", newline="\n") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def scenes(raw: Path, made: Path, *, count: int = 400, size: int = 192) -> None:
    """Stamps pasted on noise: `train/` and `val/`, each with `images/*.png`, `masks/*.png` and `annotations.json`.

    The alpha is the truth: a pixel belongs to the topmost stamp that is at least half opaque there. `masks` hold 0 for the background and
    the category's id; `annotations.json` is COCO's (boxes [x, y, width, height] in pixels and uncompressed run-length masks, both of what
    is visible). The stamps of `val` do not occur in `train`, nor do their mirror images.

    Args:
        count: scenes of `train`; `val` has a quarter as many.
        size: height and width in pixels.
    """
    categories, pools = _split(_stamps(raw))
    for split, (part, pool) in enumerate(pools.items()):
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
            random = np.random.RandomState([_SEED, split, index])
            _write(folder, coco, index, *_scene(random, pool, size))
        (folder / "annotations.json").write_text(json.dumps(coco, ensure_ascii=False), encoding="utf-8")


def _split(stamps: dict[str, Path]) -> tuple[list[str], dict[str, list[list[Path]]]]:
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
    image = _pillow()
    total = np.zeros((size, size, 3), np.float32)
    for octave in range(1, 6):
        grid = random.randint(0, 256, (2**octave, 2**octave, 3)).astype(np.uint8)
        total += np.asarray(image.fromarray(grid).resize((size, size), image.Resampling.BICUBIC), np.float32) / 2**octave
    low, high = total.min(), total.max()
    return np.rint((total - low) / (high - low) * 255).astype(np.uint8)


def _fit(path: Path, side: int) -> np.ndarray:
    """A stamp as uint8 (height, width, 4), its longer side `side` pixels, trimmed to what is not fully transparent."""
    image = _pillow()
    with image.open(path) as opened:
        stamp = opened.convert("RGBA")
    stamp = stamp.crop(stamp.getchannel("A").getbbox())
    scale = side / max(stamp.size)
    return np.asarray(stamp.resize((max(1, round(stamp.width * scale)), max(1, round(stamp.height * scale))), image.Resampling.LANCZOS))


def _write(folder: Path, coco: dict[str, Any], index: int, pixels: np.ndarray, owner: np.ndarray, kinds: list[int]) -> None:
    image = _pillow()
    name = f"{index:06d}.png"
    image.fromarray(pixels).save(folder / "images" / name)
    image.fromarray(np.array([0, *kinds], np.uint8)[owner]).save(folder / "masks" / name)
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


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise SourceError("scenes are made with Pillow: `pip install 'liandan[vision]'`") from error
    return Image
