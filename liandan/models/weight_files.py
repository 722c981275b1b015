"""The tensors of a weights file, by name: safetensors, and PyTorch files as data, never as code.

A pickle is a program. `torch.load(weights_only=True)` runs none of it that is not on a short list of tensor constructors; what it
refuses is reported here by name. The numpy values that training programs keep beside the weights become nothing, by stand-ins.
An archive with a second pickle or with compressed members (torch writes neither) is refused unread.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import struct
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

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

# The tensor constructors; what else a pickle names is what a refusal points at. Torch decides, this only words its decision.
_HARMLESS = re.compile(
    r"torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild_from_type_v2|torch\.(storage\.)?\w*Storage|torch\.nn\.parameter\.Parameter"
    r"|torch\.(Size|Tensor|device|strided|bool|(b|u?int|q?u?int|float|complex)\d+\w*)|torch\.serialization\._get_layout"
    r"|collections\.(OrderedDict|Counter)|_codecs\.encode|(builtins|__builtin__)\.(set|complex)"
)
# Allowed by torch, of no use in weights, and able to make gigabytes out of a kilobyte.
_BOMBS = re.compile(r"(builtins|__builtin__)\.bytearray|_codecs\.encode\(.+\)")
_GROWING = re.compile(r"(hex|base_?64|uu|quopri|quoted_?printable)([-_]?codec)?", re.IGNORECASE)  # codecs from bytes to more bytes


class _Nothing:
    """Stands in for what training programs keep beside the weights: takes what it is given, and is nothing.

    numpy's own functions are not called: they read a type's description out of the file and believe it.
    """

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


# Metrics and arguments in the `meta` and `args` of checkpoints: the arrays and scalars of numpy 1 and 2, argparse's namespace.
_BESIDE = (
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    "numpy.ndarray",
    "numpy.dtype",
    "argparse.Namespace",
)
_STAND_INS: list[Any] = [(_Nothing, name) for name in _BESIDE]


class WeightsError(ValueError):
    """Weights that cannot be read, or do not fit the model."""


class UnsafeWeights(WeightsError):
    """A file that would run code, or lies about what it holds; nothing of it was run."""


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a weights file, or of all safetensors files of a folder, by name, on the CPU, as they stand there.

    Raises:
        UnsafeWeights, WeightsError.
    """
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
    if bombs := [name for name in _offending(path) if _BOMBS.fullmatch(name)]:
        raise UnsafeWeights(f"{path}: refused, it calls {_list(bombs)}, which weights never do and which can fill the memory. {_INSTEAD}")
    try:
        with torch.serialization.safe_globals(_STAND_INS):
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
    return sorted(n for n in names if n not in _BESIDE and not _HARMLESS.fullmatch(n))


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
            if "_codecs.encode" in names and _GROWING.fullmatch(newest):
                names.add(f"_codecs.encode({newest!r})")
            if newest:
                strings = [*strings[-1:], newest]
        return True
    except Exception:  # pickletools raises what it likes on bytes that are no pickle; what was named until there stands
        return False
