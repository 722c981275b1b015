"""Which images are the same picture: copies saved again, resized, or in another format.

Two measures, the second where the first finds a pair. A 64-bit difference hash (Krawetz, "Kind of Like That", 2013: whether each of
8 x 8 patches is darker than its right neighbor) finds the pairs among many without comparing all; small differences count as none, so that
a flat background has no random bits. Then the thumbnails themselves are compared: a hash alone takes one digit for another.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

SHAPE = (3, 16, 18)  # of a thumbnail: its 2 x 2 means are the 8 x 9 patches of the hash
_FLAT = 4  # of 255: a smaller step between neighbors is none
_BITS = 6  # that the hashes of one picture may differ in
_BANDS = 7  # one more: hashes that differ in 6 bits agree in one of 7 bands
# Differences of the thumbnails of one picture: their root mean square as a part of the contrast (the smaller standard deviation), and the
# largest, of 255. Of 707 cut-outs on white 99 % stay below 0.10 and 28 when saved as JPEG of quality 40 or at half the size; of the 316,410
# pairs in a set of 796 two stay below these bounds: one figure that lies in two folders, and the outlined letters l and I.
_RELATIVE, _MOST = 0.15, 40.0
_NO_CONTRAST = 2.0  # of 255: added to a contrast, so that noise on a plain surface is small beside it
_TOGETHER = 1 << 22  # pairs of hashes compared at a time
_VERIFIED = 1 << 12  # pairs of thumbnails compared at a time
_ONES = np.array([bin(k).count("1") for k in range(1 << 16)], dtype=np.uint8)


def thumbnail(image: torch.Tensor) -> np.ndarray:
    """uint8 (3 or 1, height, width) -> uint8 SHAPE, antialiased; the same picture at another size has nearly the same one."""
    small = F.interpolate(image[None].float(), SHAPE[1:], mode="bilinear", antialias=True)[0]
    return small.round().to(torch.uint8).expand(SHAPE).numpy()


def difference_hash(thumbnails: np.ndarray) -> np.ndarray:
    """uint8 (N, *SHAPE) -> uint64 (N,)."""
    n, _, rows, columns = thumbnails.shape
    grey = thumbnails.astype(np.float32).mean(axis=1)
    patches = grey.reshape(n, rows // 2, 2, columns // 2, 2).mean(axis=(2, 4))
    bits = patches[:, :, 1:] - patches[:, :, :-1] > _FLAT
    return np.packbits(bits.reshape(n, 64), axis=1).view(np.uint64)[:, 0]


def alike(thumbnails: np.ndarray) -> list[tuple[int, int]]:
    """Pairs i < j of thumbnails of one picture, sorted; uint8 (N, *SHAPE)."""
    found: set[tuple[int, int]] = set()
    contrast = thumbnails.reshape(len(thumbnails), -1).std(axis=1) + _NO_CONTRAST
    for first, second in _candidates(difference_hash(thumbnails)):
        for at in range(0, len(first), _VERIFIED):
            i, j = first[at : at + _VERIFIED], second[at : at + _VERIFIED]
            apart = np.abs(thumbnails[i].astype(np.float32) - thumbnails[j]).reshape(len(i), -1)
            relative = np.sqrt((apart**2).mean(axis=1)) / np.minimum(contrast[i], contrast[j])
            same = (relative <= _RELATIVE) & (apart.max(axis=1) <= _MOST)
            found.update(zip(i[same].tolist(), j[same].tolist(), strict=True))
    return sorted(found)


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
