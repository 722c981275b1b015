"""Tux Paint's stamps: cut-outs with alpha, sorted in folders, with captions. As classes and with captions; scenes.py pastes them."""

from __future__ import annotations

import json
from pathlib import Path

from liandan.sources.entry import SourceError


def paths(raw: Path) -> dict[str, Path]:
    """Path below the folder of stamps, posix -> file; in the order of the paths."""
    files = sorted(raw.rglob("*.png"))
    if not files:
        raise SourceError("expected stamps (*.png) in what was fetched, got none")
    top = next(parent for parent in files[0].parents if parent.name == "stamps")
    return {path.relative_to(top).as_posix(): path for path in files}


def classes(raw: Path, made: Path) -> None:
    """`<class>/**/<name>.png`, the 16 folders of the package as classes; the folders below them are a finer level."""
    for name, path in paths(raw).items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        path.rename(made / name)


def captions(raw: Path, made: Path) -> None:
    """`captions.jsonl`: {"image": "images/...png", "caption": ..., "caption_zh": ... or null}, and the images.

    The Chinese caption is the simplified one, else the traditional one. Stamps without any caption are left out.
    """
    rows: list[dict[str, str | None]] = []
    for name, path in paths(raw).items():
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
    try:
        from liandan.sources import scenes
    except ImportError as error:
        raise SourceError(f"scenes are made with Pillow ({error}): `pip install 'liandan[vision]'`") from error
    scenes.make(paths(raw), made, count, size)
