"""Every random number is a function of its coordinates: (seed, epoch, position), (seed, epoch, index), (seed, step, micro-batch).

No generator state outlives a micro-batch, so there is none to save, and neither the number of processes nor of data workers can
change what is drawn. Keys are made by splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

_M64 = (1 << 64) - 1
_SMALL = 1024  # below this a Feistel network is visibly biased and a keyed sort costs nothing


def mix(*coordinates: int) -> int:
    """Hash integer coordinates to a key of 63 bits (so that it fits int64), splitmix64 chained over them."""
    h = 0x9E3779B97F4A7C15
    for c in coordinates:
        h = _absorb(h, c)
    return h >> 1


def _absorb(h: int, coordinate: int) -> int:
    h = ((h ^ (int(coordinate) & _M64)) + 0x9E3779B97F4A7C15) & _M64
    h = ((h ^ (h >> 30)) * 0xBF58476D1CE4E5B9) & _M64
    h = ((h ^ (h >> 27)) * 0x94D049BB133111EB) & _M64
    return h ^ (h >> 31)


def mix_each(last: np.ndarray, *coordinates: int) -> np.ndarray:
    """`mix(*coordinates, last[i])` for every i: int (k,) -> int64 (k,)."""
    import numpy as np

    h = 0x9E3779B97F4A7C15
    for c in coordinates:
        h = _absorb(h, c)
    x = (np.uint64(h) ^ np.asarray(last, dtype=np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
    return (_splitmix(x) >> np.uint64(1)).astype(np.int64)


def _splitmix(x: np.ndarray) -> np.ndarray:
    """The splitmix64 finalizer on uint64 arrays; wraps modulo 2^64 as it should."""
    import numpy as np

    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def permute(positions: np.ndarray | Sequence[int], n: int, key: int, rounds: int = 6) -> np.ndarray:
    """Keyed bijection of range(n), evaluated at `positions` only: memory is that of `positions`, whatever n.

    A balanced Feistel network over the next even power of two with cycle walking (Black and Rogaway, "Ciphers with arbitrary
    finite domains", 2002); a keyed sort below 1,024 elements, where a network that small is biased.

    Args:
        positions: int (k,), each in range(n).
        n: length of the permutation, up to 2^62.
        key: which permutation.

    Returns:
        int64 (k,): where each position goes.
    """
    import numpy as np

    at = np.asarray(positions, dtype=np.uint64)
    if at.size and (int(at.max()) >= n):
        raise ValueError(f"expected positions in range({n}), got {int(at.max())}")
    if n <= _SMALL:
        order = np.argsort(
            _splitmix(np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(mix(key, n))), kind="stable"
        )
        return order[at.astype(np.int64)].astype(np.int64)
    half = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    round_keys = [np.uint64(mix(key, i)) for i in range(rounds)]
    out, pending = at.copy(), np.arange(at.size)
    while pending.size:
        left, right = out[pending] >> half, out[pending] & mask
        for k in round_keys:
            left, right = right, left ^ (_splitmix(right + k) & mask)
        out[pending] = left << half | right
        pending = pending[out[pending] >= np.uint64(n)]  # cycle walking: outside of range(n), go round once more
    return out.astype(np.int64)


def _bits(keys: torch.Tensor, n: int) -> torch.Tensor:
    """int64 (B,) -> int64 (B, n): splitmix64 of key and counter, on the device of `keys`."""
    import torch

    def lsr(x: torch.Tensor, s: int) -> torch.Tensor:
        return (x >> s) & ((1 << (64 - s)) - 1)

    x = keys[:, None] * 2 + torch.arange(1, n + 1, device=keys.device) * -7046029254386353131
    x = (x ^ lsr(x, 30)) * -4658895280553007687
    x = (x ^ lsr(x, 27)) * -7723592293110705685
    return x ^ lsr(x, 31)


def uniform(keys: torch.Tensor, shape: Sequence[int], salt: int | Sequence[int] = 0) -> torch.Tensor:
    """float64 (B, *shape) in the open interval (0, 1); sample i depends on keys[i] and `salt`, or salt[i], alone."""
    import torch

    n = math.prod(shape)
    salted = keys ^ (mix(salt) if isinstance(salt, int) else torch.tensor([mix(s) for s in salt], device=keys.device))
    u = ((_bits(salted, n) >> 11) & ((1 << 53) - 1)).double()
    return ((u + 0.5) * 2.0**-53).view(len(keys), *shape)


def normal(keys: torch.Tensor, shape: Sequence[int], salt: int = 0, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Standard normal (B, *shape) of `dtype` (default: torch's), Box and Muller (1958) on keyed uniforms."""
    import torch

    u = uniform(keys, (2, *shape), salt)
    return (torch.sqrt(-2 * torch.log(u[:, 0])) * torch.cos(2 * math.pi * u[:, 1])).to(dtype or torch.get_default_dtype())
