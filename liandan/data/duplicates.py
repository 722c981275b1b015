"""Which images are the same picture: copies saved again, resized, or in another format.

Three looks, each at what the one before left over. A 64-bit difference hash (Krawetz, "Kind of Like That", 2013: whether each of 8 x 8
patches is darker than its right neighbor) finds the pairs among many without comparing all; small differences count as none, so that a flat
background has no random bits. Then thumbnails are compared, and of images of one size larger ones: a hash alone takes one digit for
another, a thumbnail one pair of trousers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

SHAPE = (3, 16, 18)  # of a thumbnail: its 2 x 2 means are the 8 x 9 patches of the hash
_CLOSER = (3, 32, 36)
_FLAT = 4  # of 255: a smaller step between neighbors is none
_BITS = 6  # that the hashes of one picture may differ in
_BANDS = 7  # one more: hashes that differ in 6 bits agree in one of 7 bands
# Differences of the thumbnails of one picture, at both sizes: their root mean square as a part of the contrast (the smaller standard
# deviation), and the largest, of 255.
_RELATIVE, _MOST, _MOST_CLOSER = 0.15, 40.0, 64.0
_NO_CONTRAST = 2.0  # of 255: added to a contrast, so that noise on a plain surface is small beside it
_TOGETHER = 1 << 22  # pairs of hashes compared at a time
_VERIFIED = 1 << 14  # pairs of thumbnails compared at a time
_ONES = np.array([bin(k).count("1") for k in range(1 << 16)], dtype=np.uint8)


def thumbnail(image: torch.Tensor, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """uint8 (3 or 1, height, width) -> uint8 `shape`, antialiased; the same picture at another size has nearly the same one."""
    small = F.interpolate(image[None].float(), shape[1:], mode="bilinear", antialias=True)[0]
    return small.round().to(torch.uint8).expand(shape).numpy()


def difference_hash(thumbnails: np.ndarray) -> np.ndarray:
    """uint8 (N, *SHAPE) -> uint64 (N,)."""
    patches = _patches(thumbnails).reshape(-1, 8, 9)
    return np.packbits((patches[:, :, 1:] - patches[:, :, :-1] > _FLAT).reshape(-1, 64), axis=1).view(np.uint64)[:, 0]


def alike(thumbnails: np.ndarray, image: Callable[[int], torch.Tensor]) -> list[tuple[int, int]]:
    """Pairs i < j of one picture, sorted.

    Args:
        thumbnails: uint8 (N, *SHAPE).
        image: the image a thumbnail is of, uint8 (3 or 1, height, width), for the few that are looked at more closely.
    """
    found: set[tuple[int, int]] = set()
    patches, flat = _patches(thumbnails), thumbnails.reshape(len(thumbnails), -1)
    contrast = flat.std(axis=1) + _NO_CONTRAST
    for first, second in _candidates(difference_hash(thumbnails)):
        for at in range(0, len(first), _VERIFIED):
            i, j = first[at : at + _VERIFIED], second[at : at + _VERIFIED]
            for pictures in (patches, flat):  # means differ by no more than what they are the means of: the few numbers first
                same = _same(pictures[i], pictures[j], np.minimum(contrast[i], contrast[j]), _MOST)
                i, j = i[same], j[same]
            found.update(zip(i.tolist(), j.tolist(), strict=True))

    @lru_cache(maxsize=1024)
    def closer(k: int) -> tuple[torch.Size, np.ndarray]:
        whole = image(k)
        return whole.shape[1:], thumbnail(whole, _CLOSER).reshape(1, -1)

    def still(i: int, j: int) -> bool:
        (size, a), (other, b) = closer(i), closer(j)
        # of two sizes one was resampled, and has lost what there would be to see
        return size != other or bool(_same(a, b, min(a.std(), b.std()) + _NO_CONTRAST, _MOST_CLOSER)[0])

    return [(i, j) for i, j in sorted(found) if still(i, j)]


def _same(a: np.ndarray, b: np.ndarray, contrast: np.ndarray | float, most: float) -> np.ndarray:
    """Whether pictures (n, values), of a contrast (n,), are the same: bool (n,)."""
    apart = np.abs(a.astype(np.float32) - b)
    return (np.sqrt((apart**2).mean(axis=1)) <= _RELATIVE * contrast) & (apart.max(axis=1) <= most)


def _patches(thumbnails: np.ndarray) -> np.ndarray:
    """float32 (N, 8 * 9): means over channels and 2 x 2 pixels."""
    n, _, rows, columns = thumbnails.shape
    grey = thumbnails.mean(axis=1, dtype=np.float32)
    return grey.reshape(n, rows // 2, 2, columns // 2, 2).mean(axis=(2, 4)).reshape(n, -1)


def groups(pairs: list[tuple[int, int]]) -> list[list[int]]:
    """Sets that the pairs join, each sorted, in the order of their first members."""
    leader: dict[int, int] = {}

    def find(i: int) -> int:
        while leader.setdefault(i, i) != i:
            i = leader[i]
        return i

    for i, j in pairs:
        low, high = sorted((find(i), find(j)))
        leader[high] = low
    members: dict[int, list[int]] = {}
    for i in sorted(leader):
        members.setdefault(find(i), []).append(i)
    return list(members.values())


def _candidates(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of indices (i, j), i < j, whose hashes differ in at most _BITS bits; a pair may come more than once."""
    bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1)
    for band in range(_BANDS):
        # every seventh bit lies on a diagonal of the 8 x 8: each band sees border and center alike
        keys = np.packbits(bits[:, band::_BANDS], axis=1)
        _, group = np.unique(keys, axis=0, return_inverse=True)
        order = np.argsort(group.reshape(-1), kind="stable")
        for run in np.split(order, np.flatnonzero(np.diff(group.reshape(-1)[order])) + 1):
            step = max(1, _TOGETHER // len(run))
            for at in range(0, len(run) - 1, step):
                rows, rest = run[at : at + step], run[at:]
                ones = _ONES[(hashes[rows, None] ^ hashes[None, rest]).view(np.uint16)]
                near = ones.reshape(len(rows), len(rest), 4).sum(axis=2) <= _BITS
                first, second = np.nonzero(np.triu(near, 1))
                if len(first):
                    yield rows[first], rest[second]
