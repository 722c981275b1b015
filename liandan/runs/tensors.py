"""Named tensors in safetensors files: tied tensors once, large sets in the Hub's shard-and-index form.

Written here rather than by the library's `save_file` for three reasons: a file is hashed as it is written, only one tensor at a time
is copied to the host, and a full disk is the operating system's own OSError. Reading is the library's.
Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".safetensors"
SHARD_SIZE = 5 * 10**9
_CHUNK = 1 << 24
_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "complex64": "C64", "bool": "BOOL",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip


@dataclass
class Shard:
    """One safetensors file to be. `aliases` maps a tied name to the stored name whose very memory it shares."""

    file: str
    tensors: dict[str, Tensor] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    bytes: int = 0

    def header(self) -> tuple[bytes, list[str]]:
        """The file's first bytes (length, JSON, padding to 8) and the names in the order of their data: wide types first, so that all
        are aligned."""
        names = sorted(self.tensors, key=lambda name: (-self.tensors[name].element_size(), name))
        # The library's own convention for tied weights (`safetensors.torch.save_model`): metadata[left out] = kept.
        entries: dict[str, Any] = {"__metadata__": {"format": "pt", **self.aliases}}
        start = 0
        for name in names:
            tensor = self.tensors[name]
            end = start + _size(tensor)
            entries[name] = {"dtype": _DTYPES[_dtype(tensor)], "shape": list(tensor.shape), "data_offsets": [start, end]}
            start = end
        text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text, names


def plan(file: str, tensors: Mapping[str, Tensor], shard_size: int = SHARD_SIZE) -> tuple[list[Shard], dict[str, Any] | None]:
    """How `tensors` are spread over files: the shards, and the index document when there is more than one.

    Names that share the very same memory, shape and strides are stored once, the others recorded as aliases; views that overlap in any
    other way are stored in full each. Raises ValueError for a tensor that a file cannot hold (meta, sparse, distributed, unknown dtype)."""
    shards, owner = [Shard(file)], {}
    for name, tensor in tensors.items():
        _check(file, name, tensor)
        key = _memory(tensor)
        kept = owner.get(key) if key is not None and name != "format" else None
        if kept is not None:
            kept[0].aliases[name] = kept[1]
            continue
        if shards[-1].tensors and shards[-1].bytes + _size(tensor) > shard_size:
            shards.append(Shard(file))
        shard = shards[-1]
        shard.tensors[name] = tensor
        shard.bytes += _size(tensor)
        if key is not None:
            owner[key] = (shard, name)
    if len(shards) == 1:
        return shards, None
    stem = file.removesuffix(SUFFIX)
    for number, shard in enumerate(shards, 1):
        shard.file = f"{stem}-{number:05d}-of-{len(shards):05d}{SUFFIX}"
    weight_map = {name: shard.file for shard in shards for name in shard.tensors}
    return shards, {"metadata": {"total_size": sum(shard.bytes for shard in shards)}, "weight_map": weight_map}


def write(path: Path, shard: Shard) -> dict[str, Any]:
    """Write one shard and flush it to the disk; {"sha256", "size"} of what was meant to be written. Raises OSError."""
    header, names = shard.header()
    with open(path, "xb") as file:
        digest = hashlib.sha256(header)
        file.write(header)
        size = len(header)
        for name in names:
            size += _write_tensor(file, digest, shard.tensors[name])
        file.flush()
        os.fsync(file.fileno())
    return {"sha256": digest.hexdigest(), "size": size}


def read(path: Path) -> dict[str, Tensor]:
    """Every name of one safetensors file, on the CPU; tied names share one tensor. Raises safetensors.SafetensorError or OSError."""
    from safetensors import safe_open

    with safe_open(path, framework="pt", device="cpu") as file:
        names = file.keys()
        tensors = {name: file.get_tensor(name) for name in names}
        metadata = file.metadata() or {}
    for name, kept in metadata.items():
        if name != "format" and name not in tensors and kept in tensors:
            tensors[name] = tensors[kept]
    return tensors


def count_elements(path: Path) -> int:
    """How many numbers a safetensors file holds, from its header alone (no torch)."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(100_000_000, path.stat().st_size):
            raise ValueError(f"{path} is not a safetensors file: its header claims {length} bytes")
        header = json.loads(file.read(length))
    total = 0
    for name, entry in header.items():
        if name != "__metadata__":
            count = 1
            for extent in entry["shape"]:
                count *= int(extent)
            total += count
    return total


def _write_tensor(file: BinaryIO, digest: Any, tensor: Tensor) -> int:
    import torch

    if not tensor.numel():
        return 0
    flat = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    data = flat.view(torch.uint8).numpy().data
    for start in range(0, len(data), _CHUNK):
        chunk = data[start : start + _CHUNK]
        digest.update(chunk)
        file.write(chunk)
    return len(data)


def _check(file: str, name: str, tensor: Tensor) -> None:
    import torch

    if not isinstance(tensor, torch.Tensor):
        raise ValueError(f"{file}: {name!r} is a {type(tensor).__name__}, expected a tensor; numbers belong into a JSON document")
    if name == "__metadata__":
        raise ValueError(f"{file}: a tensor cannot be called {name!r}, the format keeps that name for itself")
    if hasattr(tensor, "full_tensor"):
        raise ValueError(f"{file}: {name!r} is spread over processes; gather it (full_tensor) before it is written")
    if tensor.is_meta or tensor.layout != torch.strided or _dtype(tensor) not in _DTYPES:
        raise ValueError(
            f"{file}: {name!r} ({tensor.dtype}, {tensor.layout}, on {tensor.device}) cannot be written; "
            f"expected a dense tensor of {', '.join(_DTYPES)}"
        )


def _memory(tensor: Tensor) -> tuple[Any, ...] | None:
    if not tensor.numel() or tensor.is_conj() or tensor.is_neg():
        return None
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tuple(tensor.stride())


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
