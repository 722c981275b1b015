"""Format `idx`: MNIST's own files, images (N, rows, columns) and labels (N,) as unsigned bytes, plain or gzipped.

    magic  0x00 0x00, 0x08 (unsigned byte), number of dimensions;  sizes  big-endian uint32 each;  data  row by row

Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits", file formats.
"""

from __future__ import annotations

import gzip
import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liandan.data.errors import DataError
from liandan.data.fingerprint import digest, file_digest

_PREFIXES = {"train": ("train",), "test": ("t10k", "test")}
_UNSIGNED_BYTE = 0x08


@dataclass(frozen=True)
class IdxImages:
    """Grey images in one array.

    Attributes:
        array: uint8 (N, height, width), memory-mapped where the file is plain.
        targets: int64 (N,).
        indices: int64 (N,), each sample's number in the file, which its name carries through every subset.
    """

    path: Path
    split: str
    array: np.ndarray
    targets: np.ndarray
    labels: list[str]
    indices: np.ndarray
    files: tuple[Path, Path]

    format = "idx"
    multi_label = False

    @property
    def size(self) -> tuple[int, int]:
        return (int(self.array.shape[1]), int(self.array.shape[2]))

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        return f"IdxImages({self.path}, {self.split}, {len(self)} images, {len(self.labels)} classes)"

    def image(self, i: int, channels: int = 1, at_least: int | None = None) -> torch.Tensor:
        """uint8 (channels, height, width), the grey repeated for 3 channels. `at_least` has nothing to do here."""
        grey = torch.from_numpy(np.array(self.array[self.indices[i]]))[None]
        return grey if channels == 1 else grey.repeat(channels, 1, 1)

    def target(self, i: int) -> int | None:
        return int(self.targets[i])

    def name(self, i: int) -> str:
        return f"{self.split}/{self.indices[i]:05d}"

    def grey(self, sample: int = 64) -> bool:
        return True

    def resident(self) -> torch.Tensor:
        """All images as one uint8 (N, 1, height, width); the file's own memory where every image is taken in order."""
        whole = len(self.indices) == len(self.array) and bool((self.indices == np.arange(len(self.array))).all())
        array = self.array if whole else self.array[self.indices]
        return torch.from_numpy(array)[:, None]

    def subset(self, indices: np.ndarray) -> IdxImages:
        at = np.asarray(indices, dtype=np.int64)
        return replace(self, targets=self.targets[at], indices=self.indices[at])

    def manifest(self) -> list[list[Any]]:
        return sorted([file.name, file.stat().st_size, file_digest(file)] for file in self.files)

    def fingerprint(self) -> dict[str, Any]:
        manifest = self.manifest()
        return {
            "format": self.format,
            "count": len(self),
            "bytes": sum(row[1] for row in manifest),
            "files": digest(manifest),
            "labels": digest([self.labels]),
            "samples": digest([self.indices.tolist()]),
        }


def read_idx(path: Path, split: str = "train", labels: list[str] | None = None) -> IdxImages:
    """Read an images file and its labels file.

    Args:
        path: the folder that holds both, or the images file.
        split: "train" (train-images-idx3-ubyte) or "test" (t10k-images-idx3-ubyte); not used when `path` is a file.
        labels: class names; default "0", "1" ... up to the largest label in the file.

    Raises:
        DataError: a file is missing, has another magic number, or is longer or shorter than its header says.
    """
    if split not in _PREFIXES:
        raise DataError(f'idx: expected split "train" or "test", got "{split}"')
    images = path if path.is_file() else _find(path, split)
    split = split if path.is_dir() else ("train" if images.name.startswith("train") else "test")
    wanted = images.name.replace("images", "labels").replace("idx3", "idx1")
    alternatives = [wanted, wanted.removesuffix(".gz"), wanted.removesuffix(".gz") + ".gz"]
    beside = next((images.with_name(name) for name in alternatives if name != images.name and images.with_name(name).is_file()), None)
    if beside is None:
        raise DataError(f"{images}: expected its labels beside it, {wanted} (or with .gz)")
    array, targets = load_idx(images, 3), load_idx(beside, 1).astype(np.int64)
    if len(array) != len(targets):
        raise DataError(f"{images} holds {len(array)} images and {beside.name} {len(targets)} labels: they do not belong together")
    if len(array) == 0 or 0 in array.shape:
        raise DataError(f"{images}: expected images, its header says {array.shape}")
    top = int(targets.max())
    if labels is not None and top >= len(labels):
        raise DataError(f"{beside}: label {top} has no name; the training data has {len(labels)} classes")
    names = [str(k) for k in range(top + 1)] if labels is None else list(labels)
    return IdxImages(path, split, array, targets, names, np.arange(len(targets)), (images, beside))


def find_images(folder: Path) -> list[Path]:
    """IDX image files of a folder, sorted."""
    return sorted(f for f in folder.iterdir() if f.name.removesuffix(".gz").replace(".", "-").endswith("idx3-ubyte") and f.is_file())


def _find(folder: Path, split: str) -> Path:
    found = find_images(folder)
    for prefix in _PREFIXES[split]:
        for file in found:
            if file.name.startswith(prefix):
                return file
    there = ", ".join(f.name for f in found) or "none"
    raise DataError(f"{folder}: expected {_PREFIXES[split][0]}-images-idx3-ubyte (or with .gz), found {there}")


def load_idx(file: Path, dimensions: int) -> np.ndarray:
    """One IDX file -> uint8 array, mapped copy-on-write: the file is never written.

    The header is checked against the file's length before any data is read.

    Raises:
        DataError: another magic number, or more or less data than the header says.
    """
    offset = 4 + 4 * dimensions
    opener = gzip.open if file.suffix == ".gz" else open
    try:
        with opener(file, "rb") as stream:
            header = stream.read(offset)
            if len(header) < offset or header[:4] != bytes([0, 0, _UNSIGNED_BYTE, dimensions]):
                magic = f"0x{_UNSIGNED_BYTE << 8 | dimensions:08x}"
                found = f"magic 0x{header[:4].hex()}" if header else "an empty file"
                raise DataError(
                    f"{file}: expected an IDX file of unsigned bytes with {dimensions} dimensions (magic {magic}), found {found}"
                )
            shape = struct.unpack(f">{dimensions}I", header[4:])
            count = math.prod(shape)
            if file.suffix != ".gz":
                if file.stat().st_size != offset + count:
                    raise DataError(f"{file}: its header says {shape}, {offset + count:,} bytes, and it has {file.stat().st_size:,}")
                return np.memmap(file, dtype=np.uint8, mode="c", offset=offset, shape=shape) if count else np.zeros(shape, np.uint8)
            # gzip shrinks at most about 1032 times, so a lying header cannot ask for memory the file could not fill
            data = b"" if count > 1100 * file.stat().st_size else stream.read(count + 1)
    except (OSError, EOFError) as error:  # gzip.BadGzipFile is an OSError
        raise DataError(f"{file}: cannot be read: {error}") from error
    if len(data) != count:
        raise DataError(f"{file}: its header says {shape}, {count:,} bytes, and it holds {'more' if len(data) > count else 'less'}")
    return np.frombuffer(bytearray(data), dtype=np.uint8).reshape(shape)
