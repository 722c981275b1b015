"""Token ids in one long array, on disk or in memory, and the windows a language model is trained on.

Also format `tokens`: such an array from elsewhere, .npy or raw .bin. Nothing here grows with the number of tokens: a window is
computed from its number, and arrays are memory-mapped.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liandan.data.errors import DataError
from liandan.data.fingerprint import digest
from liandan.data.protocols import Batch, Sample

_TYPES = {"uint16": np.uint16, "uint32": np.uint32}


@dataclass(frozen=True)
class TokenSource:
    """Tokens start..stop of an array.

    Attributes:
        tokens: uint16 or uint32 (total,), memory-mapped.
        vocab_size: ids are below it.
    """

    path: Path
    tokens: np.ndarray
    start: int
    stop: int
    vocab_size: int

    format = "tokens"
    labels = None
    targets = None

    def __len__(self) -> int:
        return self.stop - self.start

    def __repr__(self) -> str:
        return f"TokenSource({self.path}, {len(self):,} tokens)"

    def name(self, i: int) -> str:
        return f"{self.path.name}:{self.start + i}"

    def between(self, start: int, stop: int) -> TokenSource:
        """Tokens start..stop of this source."""
        if not 0 <= start <= stop <= len(self):
            raise DataError(f"{self.path}: no tokens {start}..{stop} in {len(self)}")
        return replace(self, start=self.start + start, stop=self.start + stop)

    def subset(self, indices: np.ndarray) -> TokenSource:
        """A run of neighbors; anything else would tear windows apart (DataError)."""
        at = np.asarray(indices, dtype=np.int64)
        if len(at) and (at != np.arange(at[0], at[0] + len(at))).any():
            raise DataError(f"{self.path}: tokens can only be divided in runs")
        return self.between(int(at[0]), int(at[-1]) + 1) if len(at) else self.between(0, 0)

    def manifest(self) -> list[list[Any]]:
        return [[self.path.name, self.path.stat().st_size]]

    def fingerprint(self) -> dict[str, Any]:
        """By size and a thousand tokens spread over the file: reading all of 10^12 bytes would cost more than the training step."""
        return {
            "format": self.format,
            "count": len(self),
            "bytes": self.path.stat().st_size,
            "files": digest([*self.manifest(), _spread(self.tokens)]),
            "labels": None,
            "samples": [self.start, self.stop],
        }


def _spread(tokens: np.ndarray) -> list[int]:
    """Up to a thousand tokens spread over an array.

    Of a mapped file they are read, not looked up: each look would bring in the pages around it, 100 MB and seconds in all.
    """
    at = np.linspace(0, len(tokens) - 1, min(1000, len(tokens)), dtype=np.int64)
    if not isinstance(tokens, np.memmap) or tokens.filename is None:
        return tokens[at].tolist()
    with open(tokens.filename, "rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        found = [(file.seek(tokens.offset + i * tokens.itemsize), file.read(tokens.itemsize))[1] for i in at.tolist()]
    return np.frombuffer(b"".join(found), dtype=tokens.dtype).tolist()


def read_tokens(path: Path, dtype: str = "uint16", vocab_size: int | None = None) -> TokenSource:
    """Read an array of token ids.

    Args:
        path: .npy (one dimension, uint16 or uint32) or .bin (raw little-endian numbers).
        dtype: of a .bin, "uint16" or "uint32"; a .npy says it itself.
        vocab_size: ids are below it; default: the largest id and one, found by reading all of the file.

    Raises:
        DataError: another type or shape, a file cut short, an id beyond `vocab_size` at the start of the file.
    """
    if dtype not in _TYPES:
        raise DataError(f'tokens: expected dtype "uint16" or "uint32", got "{dtype}"')
    if path.suffix == ".npy":
        tokens = open_npy(path)
    else:
        kind, size = np.dtype(_TYPES[dtype]).newbyteorder("<"), path.stat().st_size
        if size == 0 or size % kind.itemsize:
            raise DataError(f"{path}: expected {dtype} numbers of {kind.itemsize} bytes, the file has {size:,} bytes")
        tokens = np.memmap(path, dtype=kind, mode="r")
    if len(tokens) < 2:
        raise DataError(f"{path}: expected at least 2 tokens, found {len(tokens)}")
    if vocab_size is None:
        block = 1 << 22
        vocab_size = 1 + max(int(tokens[i : i + block].max()) for i in range(0, len(tokens), block))
    elif int(tokens[:100_000].max()) >= vocab_size:
        raise DataError(f"{path}: holds id {int(tokens[:100_000].max())}, expected ids below vocab_size {vocab_size}")
    return TokenSource(path, tokens, 0, len(tokens), vocab_size)


def open_npy(path: Path) -> np.ndarray:
    """A .npy of token ids, memory-mapped; raises DataError for anything else. Never unpickles."""
    try:
        tokens = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: expected a .npy array: {error}") from error
    if not isinstance(tokens, np.ndarray) or tokens.ndim != 1 or tokens.dtype not in _TYPES.values():
        shape, kind = getattr(tokens, "shape", None), getattr(tokens, "dtype", type(tokens).__name__)
        raise DataError(f"{path}: expected one dimension of uint16 or uint32, found {shape} of {kind}")
    return tokens


class WindowSamples:
    """Windows of context + 1 tokens, one every `context`: every token but the first is predicted exactly once.

    The last window may be shorter; it is kept. Nothing is random, so keys change nothing.

    Args:
        tokens: uint16 or uint32 array, memory-mapped or not; windows are taken from start..stop of it.
        byte_lengths: int64 (vocab_size,), or None when unknown: `bytes` is then 0.
    """

    resident = True

    def __init__(
        self, tokens: np.ndarray, start: int, stop: int, context: int, byte_lengths: np.ndarray | None = None, title: str = "tokens"
    ) -> None:
        self.tokens, self.start, self.stop, self.context = tokens, start, stop, context
        self.byte_lengths, self.title = byte_lengths, title

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if isinstance(self.tokens, np.memmap) and self.tokens.filename is not None:  # pickled as it is, it would be copied whole
            state["tokens"] = (self.tokens.filename, self.tokens.dtype.str, self.tokens.offset, self.tokens.shape)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state["tokens"], tuple):
            file, dtype, offset, shape = state["tokens"]
            state = {**state, "tokens": np.memmap(file, dtype=dtype, mode="r", offset=offset, shape=shape)}
        self.__dict__.update(state)

    @property
    def nbytes(self) -> int:
        return (self.stop - self.start) * self.tokens.itemsize

    def __len__(self) -> int:
        return -(-(self.stop - self.start - 1) // self.context)

    def _span(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        first = self.start + index * self.context
        return first, min(first + self.context + 1, self.stop)

    def name(self, index: int) -> str:
        first, last = self._span(index)
        return f"{self.title} {first}-{last}"

    def sample(self, index: int, key: int | None = None) -> Sample:
        """{"ids": int64 (length,)}, 2 <= length <= context + 1."""
        first, last = self._span(index)
        return {"ids": torch.from_numpy(self.tokens[first:last].astype(np.int64))}

    def collate(self, samples: list[Sample]) -> Batch:
        """See `collate`."""
        return collate(samples, self.byte_lengths)

    def batch(self, indices: np.ndarray, keys: np.ndarray | None = None) -> Batch:
        """See protocols.Samples.batch."""
        at = np.asarray(indices, dtype=np.int64)
        if len(at) and (at.min() < 0 or at.max() >= len(self)):
            raise IndexError(f"windows {at.min()}..{at.max()} of {len(self)}")
        first = self.start + at * self.context
        lengths = np.minimum(self.context + 1, self.stop - first)
        columns = np.arange(int(lengths.max(initial=0)))
        ids = self.tokens[np.minimum(first[:, None] + columns, self.stop - 1)].astype(np.int64)
        ids[columns >= lengths[:, None]] = 0
        return _counted(ids, lengths, self.byte_lengths)


def collate(samples: list[Sample], byte_lengths: np.ndarray | None) -> Batch:
    """Token sequences -> a batch.

    Returns:
        ids: int64 (B, T), padded with 0 to the longest.
        length: int64 (B,), predicted tokens: all of a sequence but the first.
        bytes: int64 (B,), UTF-8 bytes of the predicted tokens; 0 where the tokenizer is not known.
    """
    lengths = np.array([len(sample["ids"]) for sample in samples], dtype=np.int64)
    ids = np.zeros((len(samples), int(lengths.max(initial=0))), dtype=np.int64)
    for row, sample in zip(ids, samples, strict=True):
        row[: len(sample["ids"])] = sample["ids"].numpy()
    return _counted(ids, lengths, byte_lengths)


def _counted(ids: np.ndarray, lengths: np.ndarray, byte_lengths: np.ndarray | None) -> Batch:
    size = np.zeros(len(ids), dtype=np.int64)
    if byte_lengths is not None:
        predicted = np.arange(1, ids.shape[1]) < lengths[:, None]
        size = (byte_lengths[ids[:, 1:]] * predicted).sum(axis=1)
    return {"ids": torch.from_numpy(ids), "length": torch.from_numpy(np.maximum(lengths - 1, 0)), "bytes": torch.from_numpy(size)}
