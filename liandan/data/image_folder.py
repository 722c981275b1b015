"""Format `images`: a folder of images without classes, to train a generator on or to predict."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from liandan.data.errors import DataError
from liandan.data.files import shown, walk
from liandan.data.image_files import ImageFiles, usable


def read_image_folder(path: Path) -> ImageFiles:
    """Read every image under a folder, subfolders included, sorted by path. Raises DataError when there is none."""
    found = list(walk(path))
    images = sorted((f for f in found if usable(f)), key=lambda f: (shown(f.relative), f.relative))
    if not images:
        raise DataError(f"{path}: expected a folder of images, found {len(found)} files and no image among them")
    return ImageFiles(
        path=path,
        format="images",
        files=[f.relative for f in images],
        sizes=np.array([f.size for f in images], dtype=np.int64),
        ignored=sorted(shown(f.relative) for f in found if not usable(f)),
    )
