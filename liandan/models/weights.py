"""Weights from a local file into a model: safetensors, and PyTorch files as data, never as code.

A pickle is a program. `torch.load(weights_only=True)` runs none of it that is not on a short list of tensor constructors; what it
refuses is reported here by name. An archive with a second pickle or with compressed members (torch writes neither) is refused unread.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from liandan.models.freeze import classifiers

SAFETENSORS, PICKLED = (".safetensors",), (".pt", ".pth", ".bin", ".ckpt", ".tar")
HEADER_LIMIT = 8 * 2**20  # bytes; room for some 50,000 tensors a file, and no more memory than parsing it can take
SCAN_LIMIT = 64 * 2**20  # bytes of pickle read in search of the names it calls

# Where training programs keep the weights among the rest of a checkpoint; the first that is there is taken, raw before averaged.
WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "weights",
    "params",
    "state_dict_ema",
    "model_ema",
    "ema",
)
PREFIXES = ("module.", "_orig_mod.")  # DistributedDataParallel, torch.compile

# The tensor constructors; what else a pickle names is what a refusal points at. Torch decides, this only words its decision.
_HARMLESS = re.compile(
    r"torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2|torch\.(storage\.)?\w*Storage|torch\.nn\.parameter\.Parameter"
    r"|torch\.(Size|Tensor|device|strided|bool|(b|u?int|q?u?int|float|complex)\d+\w*)|torch\.serialization\._get_layout"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|(builtins|__builtin__)\.(bytearray|set|complex)"
)


class WeightsError(ValueError):
    """Weights that cannot be read, or do not fit the model."""


class UnsafeWeights(WeightsError):
    """A file that would run code, or lies about what it holds; nothing of it was run."""


@dataclass
class Report:
    """What became of each tensor, by name in the model (unexpected: in the file)."""

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # in the model alone; as initialized
    unexpected: list[str] = field(default_factory=list)  # in the file alone; ignored
    reinitialized: list[str] = field(default_factory=list)  # the head, for another number of classes; as initialized

    @property
    def fresh(self) -> list[str]:
        """Tensors of the model that the file did not fill."""
        return self.missing + self.reinitialized

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        for what in ("reinitialized", "missing", "unexpected"):
            names = getattr(self, what)
            if names:
                parts.append(f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
        return "; ".join(parts)


def load_weights(model: nn.Module, path: str | Path, *, skip_head: bool = True) -> Report:
    """Copy the tensors of a file into the parameters and buffers of the same name, keeping the model's types and devices.

    Args:
        model: changed in place; on an error, not at all. Its `own_name`, if it has one, is given the names it does not know.
        path: .safetensors, or .pt, .pth, .bin, .ckpt, .pth.tar holding a state_dict, bare or under one of WRAPPERS; PREFIXES are dropped.
        skip_head: a classifier of another number of classes keeps its initialization and is reported; False: it is an error.

    Raises:
        UnsafeWeights: the file would run code or lies about its contents.
        WeightsError: unreadable, another shape under the same name, or nothing in common with the model.
    """
    path = Path(path)
    own = model.state_dict()
    found = _renamed(read_weights(path), own, path, getattr(model, "own_name", str))
    heads = tuple(f"{name}." for name in classifiers(model))
    report = Report(unexpected=[n for n in found if n not in own])
    for name, tensor in own.items():
        if name not in found:
            # absent from files older than PyTorch 0.4.1, and of no use for prediction; or tied to a tensor that is there
            tied = any(other in found and tensor.data_ptr() == own[other].data_ptr() for other in own if other != name)
            if not name.endswith("num_batches_tracked") and not tied:
                report.missing.append(name)
        elif found[name].shape == tensor.shape:
            if found[name].is_floating_point() != tensor.is_floating_point():
                raise WeightsError(
                    f"{path}: {name} is {found[name].dtype}, the model's is {tensor.dtype}; a quantized file is not for training"
                )
            report.loaded.append(name)
        elif skip_head and name.startswith(heads) and found[name].shape[1:] == tensor.shape[1:]:
            report.reinitialized.append(name)
        else:
            raise WeightsError(
                f"{path}: {name} has shape {tuple(found[name].shape)} in the file, {tuple(tensor.shape)} in the model. "
                "Build the model with the arguments it was trained with, or take weights made for this one."
            )
    if not report.loaded:
        raise WeightsError(
            f"{path}: none of its {len(found)} tensors ({_some(found)}) is one of the {len(own)} of {type(model).__name__} ({_some(own)}). "
            "The file is of another architecture; check `model.name`."
        )
    # A head is one thing: its bias must not come from the file when its weight cannot.
    for head in heads:
        if any(n.startswith(head) for n in report.reinitialized):
            report.reinitialized += [n for n in report.loaded if n.startswith(head)]
            report.loaded = [n for n in report.loaded if not n.startswith(head)]
    with torch.no_grad():
        for name in report.loaded:
            own[name].copy_(found[name])
    return report


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name, on the CPU, as they stand in the file. Errors as in `load_weights`."""
    path = Path(path)
    if path.is_dir() and (parts := sorted(path.glob("*.safetensors"))):
        return {name: tensor for part in parts for name, tensor in _read_safetensors(part).items()}
    if not path.is_file():
        raise WeightsError(f"{path}: expected a weights file, found {'a directory' if path.is_dir() else 'nothing'}; check `model.weights`")
    if path.suffix in SAFETENSORS:
        return _read_safetensors(path)
    if path.suffix not in PICKLED:
        raise WeightsError(
            f"{path}: {path.suffix or 'no suffix'} is not a weights file. Expected {', '.join(SAFETENSORS + PICKLED)}; "
            "save the tensors with safetensors.torch.save_file(model.state_dict(), 'model.safetensors')."
        )
    return _unwrapped(_read_pickled(path), path)


def _some(names: Mapping[str, Any]) -> str:
    return ", ".join([*list(names)[:2], *(["..."] if len(names) > 2 else [])])


def _renamed(found: dict[str, Tensor], own: Mapping[str, Tensor], path: Path, own_name: Callable[[str], str]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for full, tensor in found.items():
        name = full
        while name not in own and name.startswith(PREFIXES):  # a model may have a module of that name
            name = name.partition(".")[2]
        name = own_name(name) if name not in own and own_name(name) in own else name
        if name in renamed:
            raise WeightsError(f"{path}: {name} is there twice, with and without {' or '.join(PREFIXES)}; save one model a file")
        renamed[name] = tensor
    return renamed


def _unwrapped(content: Any, path: Path) -> dict[str, Tensor]:
    """The state_dict inside a checkpoint: the content itself, or what stands under one of WRAPPERS."""
    outer = content
    for _ in range(4):
        if not isinstance(outer, Mapping):
            break
        tensors = {k: v for k, v in outer.items() if isinstance(k, str) and isinstance(v, Tensor)}
        inner = next((outer[k] for k in WRAPPERS if isinstance(outer.get(k), Mapping)), None)
        if inner is None:
            if tensors:
                return tensors
            break
        outer = inner
    keys = f" with {', '.join(map(str, list(outer)[:5]))}" if isinstance(outer, Mapping) else ""
    raise WeightsError(f"{path}: expected a state_dict, bare or under one of {', '.join(WRAPPERS)}; found {type(outer).__name__}{keys}")


# ---------------------------------------------------------------------------------------------------------------- safetensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _check_header(path)
    try:
        return load_file(path)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise UnsafeWeights(f"{path}: not a sound safetensors file ({error}); fetch it again and compare its sha256") from error


def _check_header(path: Path) -> None:
    """The length that the first eight bytes claim, before anything is read by it; safetensors checks what the header says."""
    with path.open("rb") as f:
        start = f.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else None
    if length is None or length > min(HEADER_LIMIT, path.stat().st_size - 8):
        raise UnsafeWeights(
            f"{path}: claims a header of {length} bytes in a file of {path.stat().st_size} (limit {HEADER_LIMIT}); "
            "it is cut short or forged, fetch it again and compare its sha256"
        )


# ------------------------------------------------------------------------------------------------------------------ PyTorch


def _read_pickled(path: Path) -> Any:
    if zipfile.is_zipfile(path):
        _check_archive(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises some ten types on a damaged or foreign file, among them bare RuntimeError and AssertionError
        message = str(error)
        refused = _offending(path) or re.findall(r"GLOBAL ([\w.]+)", message)
        if refused:
            raise UnsafeWeights(f"{path}: refused, it calls {_list(refused)}, which is code and not weights. {_INSTEAD}") from error
        # Torch's own advice on an UnpicklingError is to turn weights_only off.
        advice = isinstance(error, pickle.UnpicklingError) or not message
        what = type(error).__name__ if advice else f"{type(error).__name__}: {message.splitlines()[0][:200]}"
        raise WeightsError(f"{path}: cannot be read as PyTorch weights ({what}); fetch it again and compare its sha256") from error


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            name = member.filename
            if Path(name).suffix in (".pkl", ".pickle", ".py") and Path(name).name != "data.pkl":  # TorchScript is such an archive
                called = _called([archive.open(member)]) if member.compress_type == zipfile.ZIP_STORED else []
                what = f", which calls {_list(called)}" if called else ""
                raise UnsafeWeights(f"{path}: refused, it holds {name} besides its weights{what}. {_INSTEAD}")
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED:
                raise UnsafeWeights(f"{path}: refused, {member.filename} is compressed, which torch.save never does. {_INSTEAD}")
        if sum(Path(m.filename).name == "data.pkl" for m in members) > 1:
            raise UnsafeWeights(f"{path}: refused, it holds more than one data.pkl. {_INSTEAD}")


_INSTEAD = (
    "Nothing was run. Take a .safetensors of the same weights, or, where you trust its source and have the program that wrote it, "
    "load it there and save safetensors.torch.save_file(model.state_dict(), 'model.safetensors')."
)


def _list(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _offending(path: Path) -> list[str]:
    """Names outside of the tensor constructors that the pickles of a file would look up, read from their opcodes without running them."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _called(archive.open(m) for m in archive.infolist() if m.filename.endswith(".pkl"))
        if tarfile.is_tarfile(path):  # PyTorch before 0.1.12
            with tarfile.open(path, "r:") as archive:
                return _called(f for m in archive if (f := archive.extractfile(m)))
        with path.open("rb") as f:
            return _called([f])
    except (OSError, zipfile.BadZipFile, tarfile.TarError, RuntimeError, NotImplementedError):
        return []  # the file is refused anyway; only the message is poorer


def _called(streams: Iterable[IO[bytes]]) -> list[str]:
    names: set[str] = set()
    for stream in streams:
        for _ in range(5):  # the format before zip has five pickles in a row, then raw storage
            if not _scan(stream, names):
                break
    return sorted(n for n in names if not _HARMLESS.fullmatch(n))


def _scan(stream: IO[bytes], names: set[str]) -> bool:
    """Add the `module.name` of every global that one pickle names; False where it is damaged or goes beyond SCAN_LIMIT."""
    strings: list[str] = []  # STACK_GLOBAL takes the two newest; what comes back out of the memo counts as new
    memo: dict[int, str] = {}
    newest = ""
    begin = stream.tell()
    try:
        for opcode, argument, at in pickletools.genops(stream):
            if (at or 0) - begin > SCAN_LIMIT:
                return False
            if opcode.name in ("GLOBAL", "INST"):
                names.add(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                names.add(".".join(strings[-2:]))
            if opcode.name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
                memo[len(memo) if argument is None else int(argument)] = newest
                continue
            newest = memo.get(int(argument or 0), "") if opcode.name in ("GET", "BINGET", "LONG_BINGET") else argument
            newest = newest if isinstance(newest, str) else ""
            if newest:
                strings = [*strings[-1:], newest]
        return True
    except Exception:  # pickletools raises what it likes on bytes that are no pickle; what was named until there stands
        return False
