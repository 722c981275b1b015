"""GGUF, llama.cpp's file of a whole language model, as the folder that transformers would have: config, tokenizer, chat template, weights.

transformers reads the file by the gguf library, and both believe what a header says: a count of 2^60 costs the memory of 2^60. So the
header is walked here first, with every length held against the bytes there are, and no model is built larger than its tensors.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch

from liandan.models import ModelError
from liandan.models.weight_files import UnsafeWeights

HEADER_LIMIT = 256 * 2**20  # bytes of everything before the tensors; the longest vocabularies take some 20 MiB
_VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LEAST_VALUE, _LEAST_TENSOR = 13, 24  # bytes that an entry takes at least
_MOST_DIMENSIONS = 4  # GGML's


@dataclass
class Header:
    """What a file says of itself.

    Attributes:
        values: scalars and texts by key; of an array its length.
        tensors: (shape, GGML type, offset in bytes after the header) by name.
        end: bytes of the header.
    """

    values: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, tuple[tuple[int, ...], int, int]] = field(default_factory=dict)
    end: int = 0


class _Walk:
    """Reads a header from its start, never beyond what there is."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        self.left = min(path.stat().st_size, HEADER_LIMIT)

    def refuse(self, what: str) -> UnsafeWeights:
        advice = "it is cut short or forged, fetch it again and compare its sha256"
        return UnsafeWeights(f"{self.path}: not a sound GGUF file ({what}); {advice}")

    def bytes(self, count: int) -> bytes:
        if count > self.left:
            raise self.refuse(f"claims {count:,} bytes where {self.left:,} are left")
        self.left -= count
        return self.file.read(count)

    def skip(self, count: int) -> None:
        if count > self.left:
            raise self.refuse(f"claims {count:,} bytes where {self.left:,} are left")
        self.left -= count
        self.file.seek(count, 1)

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.bytes(struct.calcsize(f"<{code}")))[0]

    def count(self, least: int) -> int:
        """A number of things that take at least so many bytes each."""
        found = self.number("Q")
        if found * least > self.left:
            raise self.refuse(f"claims {found:,} entries in {self.left:,} bytes")
        return found

    def text(self) -> str:
        try:
            return self.bytes(self.number("Q")).decode()
        except UnicodeDecodeError as error:
            raise self.refuse("a name that is no UTF-8") from error

    def value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            raise self.refuse(f"a value of type {kind}, of which there is none")
        of = self.number("I")
        if of in _SCALARS:
            size = struct.calcsize(f"<{_SCALARS[of]}")
            length = self.count(size)
            self.skip(length * size)
            return length
        if of != _STRING:
            raise self.refuse(f"an array of type {of}")
        length = self.count(8)
        for _ in range(length):
            self.skip(self.number("Q"))
        return length


def read_header(path: Path) -> Header:
    """What a GGUF file says of itself, each length held against the file.

    Raises:
        UnsafeWeights: it is no GGUF file, or says what cannot be.
    """
    with path.open("rb") as file:
        walk, found = _Walk(file, path), Header()
        if walk.bytes(min(4, walk.left)) != b"GGUF":
            raise walk.refuse("it does not begin with GGUF")
        version = walk.number("I")
        if version not in _VERSIONS:
            raise walk.refuse(f"version {version}; {' and '.join(map(str, _VERSIONS))} are known")
        tensors, values = walk.number("Q"), walk.number("Q")
        if tensors * _LEAST_TENSOR + values * _LEAST_VALUE > walk.left:
            raise walk.refuse(f"claims {tensors:,} tensors and {values:,} values in {walk.left:,} bytes")
        for _ in range(values):
            key = walk.text()
            if key in found.values:
                raise walk.refuse(f"{key} twice")
            found.values[key] = walk.value(walk.number("I"))
        for _ in range(tensors):
            name, dimensions = walk.text(), walk.number("I")
            if dimensions > _MOST_DIMENSIONS or name in found.tensors:
                raise walk.refuse(f"a tensor {name} of {dimensions} dimensions, or two of that name")
            shape = tuple(walk.number("Q") for _ in range(dimensions))
            found.tensors[name] = shape, walk.number("I"), walk.number("Q")
        found.end = file.tell()
    _check_tensors(path, walk, found)
    return found


def _check_tensors(path: Path, walk: _Walk, found: Header) -> None:
    from gguf import GGML_QUANT_SIZES

    sizes = {int(kind): size for kind, size in GGML_QUANT_SIZES.items()}
    alignment = found.values.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
        raise walk.refuse(f"an alignment of {alignment}")
    start = -(-found.end // alignment) * alignment
    room = path.stat().st_size - start
    for name, (shape, kind, offset) in found.tensors.items():
        if kind not in sizes:
            raise walk.refuse(f"{name} is of type {kind}, of which there is none")
        block, size = sizes[kind]
        if prod(shape) % block or offset + prod(shape) // block * size > room:
            raise walk.refuse(f"{name} of shape {shape} lies outside of the file")
    architecture = found.values.get("general.architecture")
    layers = found.values.get(f"{architecture}.block_count", 0)
    if not isinstance(architecture, str) or not isinstance(layers, int) or layers > len(found.tensors):
        raise walk.refuse(f"{layers:,} layers of {architecture!r:.40} in {len(found.tensors):,} tensors")


def to_folder(path: Path, folder: Path) -> None:
    """Write what a GGUF file holds as a folder of transformers, its weights as float32.

    Raises:
        UnsafeWeights: see read_header; or tensors are not those of the model that the header describes.
        ModelError: transformers or gguf is not installed, or transformers does not know this kind of model.
    """
    try:
        import gguf  # noqa: F401
        from safetensors.torch import save_file
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
        from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint
    except ImportError as error:
        raise ModelError(f'{path}: GGUF needs transformers and gguf ({error}): pip install "liandan[text]"') from error
    header = read_header(path)
    where: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(str(path.parent), **where)
        with torch.device("meta"):  # shapes, and no memory
            model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        _of_the_size(path, header, wanted)
        tensors: dict[str, torch.Tensor] = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent), **where)
    except UnsafeWeights:
        raise
    except Exception as error:  # of an unknown architecture, and of a broken value, transformers raises what comes
        said = (str(error).splitlines() or [""])[0]
        raise ModelError(f"{path}: transformers cannot read this GGUF file: {type(error).__name__}: {said}") from error
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    wrong = [name for name in wanted.keys() | tensors.keys() if name not in tied and _shape(tensors.get(name)) != wanted.get(name)]
    if wrong:
        raise UnsafeWeights(f"{path}: the tensors are not those of the {config.model_type} it says it is: {', '.join(sorted(wrong)[:3])}")
    config.architectures, config.dtype = [type(model).__name__], "float32"
    config.save_pretrained(folder)
    _pre_tokenizer(tokenizer, header)
    tokenizer.save_pretrained(folder)
    ids = {f"{name}_token_id": header.values.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos")}
    (folder / "generation_config.json").write_text(json.dumps({k: v for k, v in ids.items() if v is not None}), encoding="utf-8")
    kept = {name: tensor.float().contiguous() for name, tensor in tensors.items() if name not in tied}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def _shape(tensor: torch.Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def _of_the_size(path: Path, header: Header, wanted: dict[str, tuple[int, ...]]) -> None:
    """Refuse a model with more numbers than the file holds, an output layer that is the embedding aside."""
    there = sum(prod(shape) for shape, _, _ in header.tensors.values())
    asked = sum(prod(shape) for shape in wanted.values()) - prod(wanted.get("lm_head.weight", (0,)))
    if asked > there:
        raise UnsafeWeights(f"{path}: describes a model of {asked:,} parameters and holds {there:,} numbers; it is forged or damaged")


def _pre_tokenizer(tokenizer: Any, header: Header) -> None:
    """Split text as the vocabulary was learned, where transformers does not know how: SmolLM's digits stand alone."""
    if header.values.get("tokenizer.ggml.pre") == "smollm":
        from tokenizers import pre_tokenizers

        digits, level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, level])
