"""Small real images: scikit-learn's digits, and patterns drawn here."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """uint8 (1797, 8, 8) in 0..240 and int64 (1797,)."""
    pixels, targets = load_digits(return_X_y=True)
    return (np.asarray(pixels) * 15).astype(np.uint8).reshape(-1, 8, 8), np.asarray(targets, dtype=np.int64)


@pytest.fixture
def digit_folders(tmp_path: Path, digits: tuple[np.ndarray, np.ndarray]) -> Path:
    """60 digits as PNGs, six of each class."""
    images, targets = digits
    for k in range(10):
        folder = tmp_path / "digits" / str(k)
        folder.mkdir(parents=True)
        for n, i in enumerate(np.flatnonzero(targets == k)[:6]):
            Image.fromarray(images[i]).save(folder / f"{n:03d}.png")
    return tmp_path / "digits"


def pattern(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 (height, width, 3): smooth color gradients, no two seeds alike."""
    y, x = np.mgrid[0:height, 0:width]
    rows = [127 + 120 * np.sin((seed + 1) * (k + 1) * 0.7 + x / (9 + k) + y / (13 - k)) for k in range(3)]
    return np.stack(rows, axis=-1).astype(np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve color JPEGs of different sizes in two classes with Chinese names."""
    for label, name in enumerate(("猫", "狗")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for n in range(6):
            Image.fromarray(pattern(90 + 7 * n, 120 - 5 * n, seed=10 * label + n)).save(folder / f"照片{n}.jpg", quality=92)
    return tmp_path / "photos"


@pytest.fixture
def write_idx() -> Callable[[Path, np.ndarray], Path]:
    def write(path: Path, array: np.ndarray) -> Path:
        header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(header + array.astype(np.uint8).tobytes())
        return path

    return write


@pytest.fixture(scope="session")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tux Paint's 796 stamps, cut-outs with alpha in folders (Debian's tuxpaint-stamps-default, 160 MB); skipped where apt is not."""
    installed = Path("/usr/share/tuxpaint/stamps")
    if installed.is_dir():
        return installed
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip("tuxpaint-stamps-default comes through apt")
    folder = tmp_path_factory.mktemp("stamps")
    subprocess.run(["apt-get", "download", "tuxpaint-stamps-default"], cwd=folder, check=True, capture_output=True, timeout=300)
    subprocess.run(["dpkg-deb", "-x", *map(str, folder.glob("*.deb")), str(folder)], check=True, timeout=120)
    return folder / "usr/share/tuxpaint/stamps"
