import argparse
import codecs
import contextlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from liandan import models
from liandan.models.weights import UnsafeWeights, WeightsError, load_weights


def net(classes: int = 3, channels: int = 1) -> nn.Module:
    return models.build("liandan/lenet5", num_classes=classes, in_chans=channels, norm=True)


def same(a: nn.Module, b: nn.Module) -> bool:
    other = b.state_dict()
    return all(torch.equal(v, other[k]) for k, v in a.state_dict().items())


# ---------------------------------------------------------------------------------------------------------------- loading


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state", "model_state_dict", "state_dict_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoints_of_other_programs(tmp_path: Path, wrapper: str | None, prefix: str, zipped: bool) -> None:
    source, target, path = net(), net(), tmp_path / "权重 1.pth"
    state: dict[str, Any] = {prefix + k: v for k, v in source.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3, "best": 0.5} if wrapper else state, path, _use_new_zipfile_serialization=zipped)
    report = load_weights(target, path)
    assert same(source, target) and len(report.loaded) == len(source.state_dict())
    assert not (report.missing or report.unexpected or report.reinitialized)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".pth.tar"])
def test_suffixes(tmp_path: Path, suffix: str) -> None:
    source, target, path = net(), net(), tmp_path / f"w{suffix}"
    save_file(source.state_dict(), path) if suffix == ".safetensors" else torch.save(source.state_dict(), path)
    load_weights(target, path)
    assert same(source, target)


def test_a_head_of_other_classes_starts_from_zero(tmp_path: Path) -> None:
    source, target, path = net(10), net(3), tmp_path / "w.safetensors"
    save_file(source.state_dict(), path)
    report = load_weights(target, path)
    assert sorted(report.reinitialized) == ["head.bias", "head.weight"] and report.classes == (10, 3)
    state = target.state_dict()
    assert not state["head.weight"].any() and not state["head.bias"].any()
    assert all(torch.equal(state[k], v) for k, v in source.state_dict().items() if not k.startswith("head"))
    with pytest.raises(WeightsError, match=r"head.weight has shape \(10, 84\) in the file, \(3, 84\) in the model"):
        load_weights(target, path, skip_head=False)


def test_another_shape_elsewhere_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    target, path = net(), tmp_path / "w.safetensors"
    before = {k: v.clone() for k, v in target.state_dict().items()}
    save_file(net(channels=3).state_dict(), path)
    with pytest.raises(WeightsError, match=r"features.0.weight has shape \(6, 3, 5, 5\) in the file, \(6, 1, 5, 5\) in the model"):
        load_weights(target, path)
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


def test_a_head_on_other_features_is_an_error(tmp_path: Path) -> None:
    source, target = (nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(n, 3)}) for n in (5, 4))
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"head.weight has shape \(3, 5\) in the file, \(3, 4\)"):
        load_weights(target, tmp_path / "w.safetensors")


def test_missing_unexpected_and_nothing_in_common(tmp_path: Path) -> None:
    path, state = tmp_path / "w.safetensors", net().state_dict()
    del state["hidden.2.bias"], state["features.1.num_batches_tracked"]
    save_file(state | {"extra": torch.zeros(1)}, path)
    report = load_weights(net(), path)
    assert report.missing == ["hidden.2.bias"] and report.unexpected == ["extra"]
    with pytest.raises(WeightsError, match="of another architecture"):
        load_weights(nn.Sequential(nn.Linear(2, 2)), path)


def test_types_are_the_models_and_integers_are_no_weights(tmp_path: Path) -> None:
    path, target = tmp_path / "w.safetensors", nn.Linear(2, 2).double()
    save_file({"weight": torch.ones(2, 2, dtype=torch.bfloat16), "bias": torch.ones(2)}, path)
    load_weights(target, path)
    assert target.weight.dtype == torch.float64 and (target.weight == 1).all()
    save_file({"weight": torch.ones(2, 2, dtype=torch.int8)}, path)
    with pytest.raises(WeightsError, match="torch.int8"):
        load_weights(target, path)


def test_a_module_named_module_keeps_its_name(tmp_path: Path) -> None:
    source, target, path = nn.ModuleDict({"module": nn.Linear(2, 2)}), nn.ModuleDict({"module": nn.Linear(2, 2)}), tmp_path / "w.pt"
    for prefix in ("", "module."):
        nn.init.normal_(source.get_parameter("module.weight"))
        torch.save({prefix + k: v for k, v in source.state_dict().items()}, path)
        load_weights(target, path)
        assert same(source, target)


def test_the_same_name_with_and_without_prefix(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2, 2), "module.weight": torch.ones(2, 2)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="there twice"):
        load_weights(nn.Linear(2, 2), tmp_path / "w.pt")


# --------------------------------------------------------------------------------------------------------- numpy beside the weights


def with_metrics(model: nn.Module) -> dict[str, Any]:
    """As training programs of the OpenMMLab family write their checkpoints: metrics in numpy, the optimizer's state."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.rand(2, 1, 28, 28)).sum().backward()
    optimizer.step()
    info = {"val_acc": [{"accuracy_top-1": np.float64(93.5), "confusion": np.arange(9).reshape(3, 3), "names": np.array(["岩", "b"])}]}
    meta = {"epoch": 7, "train_info": info, "best_val_acc": np.float32(0.5), "args": argparse.Namespace(lr=0.1), "lines": np.array([{}])}
    return {"meta": meta, "state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("core", [b"numpy._core.", b"numpy.core."])
def test_metrics_in_numpy_beside_the_weights(tmp_path: Path, zipped: bool, core: bytes) -> None:
    source, target, path = net(), net(), tmp_path / "Last_Epoch007.pth"
    torch.save(with_metrics(source), path, _use_new_zipfile_serialization=zipped)
    if zipped:
        rewrite(path, lambda name, content: content.replace(b"numpy._core.", core) if name.endswith("data.pkl") else content)
    else:
        path.write_bytes(path.read_bytes().replace(b"numpy._core.", core))
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    load_weights(target, path)
    assert same(source, target)
    with pytest.raises(pickle.UnpicklingError):  # nothing stays allowed
        torch.load(path, weights_only=True)


def test_nothing_of_numpy_is_built(tmp_path: Path) -> None:
    """An array of a petabyte, and a scalar whose type claims that its bytes are the address of an object."""
    multiarray = sys.modules[type(np.zeros(0)).__reduce__(np.zeros(0))[0].__module__]
    lying = Calls(np.dtype, "V8", False, True), b"\x01" * 8
    extra = {"huge": Calls(multiarray._reconstruct, np.ndarray, (2**50,), b"b"), "address": Calls(multiarray.scalar, *lying)}
    source, target, path = net(), net(), tmp_path / "w.pth"
    torch.save({"state_dict": source.state_dict(), "meta": extra}, path)
    load_weights(target, path)
    assert same(source, target)


def test_arrays_are_no_weights_and_other_functions_of_numpy_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"weight": np.zeros((2, 2)), "bias": np.zeros(2)}, path)
    with pytest.raises(WeightsError, match="expected a state_dict"):
        load_weights(nn.Linear(2, 2), path)
    torch.save({"state_dict": nn.Linear(2, 2).state_dict(), "meta": Calls(np.fromfile, "/etc/passwd")}, path)
    with pytest.raises(UnsafeWeights, match="it calls numpy.*fromfile"):
        load_weights(nn.Linear(2, 2), path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("bomb", ["bytearray", "hex"])
def test_a_small_file_cannot_fill_the_memory(tmp_path: Path, zipped: bool, bomb: str) -> None:
    """Each of these is made of calls that torch allows."""
    grown: Any = b"0123456789abcdef"
    for _ in range(28):  # 4 GiB
        grown = Calls(codecs.encode, grown, "hex")
    path = tmp_path / "w.pth"
    content = {"w": torch.zeros(1), "x": grown if bomb == "hex" else Calls(bytearray, 2**31 - 1)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert path.stat().st_size < 2**14
    with pytest.raises(UnsafeWeights, match="bytearray|hex"):
        load_weights(nn.Linear(2, 2), path)


# ------------------------------------------------------------------------------------------------------- files that are not weights


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".gguf", ".pkl", ".onnx", ""])
def test_other_files_are_refused_by_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(pickle.dumps(1))
    if suffix == ".npy":
        np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(WeightsError, match="is not a weights file. Expected .safetensors"):
        load_weights(net(), path)


def test_no_file_a_folder_and_no_tensors(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="found nothing"):
        load_weights(net(), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="found a directory"):
        load_weights(net(), tmp_path)
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="expected a state_dict.*found dict with epoch"):
        load_weights(net(), tmp_path / "w.pt")


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "numel", "size"])
def test_damaged_pytorch_files(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "w.pt"
    torch.save(nn.Linear(4, 3).state_dict(), path)
    whole = path.read_bytes()
    if damage in ("numel", "size"):  # a tensor of two thousand million numbers in a file of one kilobyte
        old, new = {"numel": (b"K\x0c", b"J\xff\xff\xff\x7f"), "size": (b"K\x03K\x04\x86", b"J\xff\xff\xff\x7fK\x04\x86")}[damage]
        rewrite(path, lambda name, content: content.replace(old, new, 1) if name.endswith("data.pkl") else content)
        assert path.read_bytes() != whole
    else:
        path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "noise": bytes(range(256)) * 8}[damage])
    with pytest.raises(WeightsError, match="fetch it again") as caught:
        load_weights(nn.Linear(4, 3), path)
    assert "weights_only" not in str(caught.value)  # torch's own message advises to turn it off


def rewrite(path: Path, change: Any, extra: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as old:
        members = {i.filename: change(i.filename, old.read(i.filename)) for i in old.infolist()}
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in (members | (extra or {})).items():
            new.writestr(name, content)


# ------------------------------------------------------------------------------------------------------------ malicious pickles


class Calls:
    """Pickles to a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def getattr_chain(canary: Path) -> bytes:
    """getattr(getattr(__import__("os"), "path"), "os").system(...), spelled in opcodes: no dangerous name in one piece."""
    text = f"touch '{canary}'"
    return (
        b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(X\x02\x00\x00\x00ostRX\x06\x00\x00\x00systemtR("
        + b"X" + struct.pack("<I", len(text.encode())) + text.encode() + b"tR."
    )  # fmt: skip


def payload(kind: str, canary: Path, protocol: int = 2) -> bytes:
    if kind == "getattr":
        return getattr_chain(canary)
    if kind == "eval":
        return pickle.dumps({"w": Calls(eval, f"open({str(canary)!r}, 'w').close()")}, protocol)
    if kind == "nested":
        inner = pickle.dumps(Calls(os.system, f"touch '{canary}'"), protocol)
        return pickle.dumps({"w": Calls(torch.storage._load_from_bytes, inner)}, protocol)
    return pickle.dumps({"w": Calls(os.system, f"touch '{canary}'")}, protocol)


NAMED = {"system": "system", "eval": "eval", "getattr": "builtins.getattr", "nested": "torch.storage._load_from_bytes"}


def plant(container: str, content: bytes, path: Path) -> None:
    if container == "bare":
        path.write_bytes(content)
    elif container == "zip":
        torch.save(nn.Linear(2, 2).state_dict(), path)
        rewrite(path, lambda name, old: content if name.endswith("data.pkl") else old)
    elif container == "zip with a second pickle":
        torch.save(nn.Linear(2, 2).state_dict(), path)
        rewrite(path, lambda name, old: old, {"w/extra.pkl": content})
    elif container == "legacy":
        torch.save({}, path, _use_new_zipfile_serialization=False)
        whole = path.read_bytes()
        at = whole.index(pickle.dumps({}, 2))
        path.write_bytes(whole[:at] + content + whole[at + len(pickle.dumps({}, 2)) :])
    elif container == "tar":
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            for name in ("storages", "tensors", "pickle"):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("kind", list(NAMED))
def test_the_payloads_are_live(tmp_path: Path, kind: str) -> None:
    canary = tmp_path / "canary"
    with contextlib.suppress(RuntimeError, pickle.UnpicklingError):  # torch, inside of `nested`, finds it no tensor when it has run
        pickle.loads(payload(kind, canary))
    assert canary.exists()


@pytest.mark.parametrize("container", ["bare", "zip", "zip with a second pickle", "legacy", "tar"])
@pytest.mark.parametrize("kind", list(NAMED))
@pytest.mark.parametrize(("suffix", "protocol"), [(".pt", 2), (".pth", 4), (".bin", 0)])
def test_nothing_of_a_pickle_runs(tmp_path: Path, container: str, kind: str, suffix: str, protocol: int) -> None:
    path, canary = tmp_path / f"w{suffix}", tmp_path / "canary"
    plant(container, payload(kind, canary, protocol), path)
    with pytest.raises(UnsafeWeights, match="safetensors.torch.save_file") as caught:
        load_weights(nn.Linear(2, 2), path)
    assert NAMED[kind] in str(caught.value) and not canary.exists()


def test_a_whole_pickled_model_is_refused_by_its_class(tmp_path: Path) -> None:
    torch.save(net(), tmp_path / "w.pt")
    with pytest.raises(UnsafeWeights, match="liandan.models.lenet5.LeNet5"):
        load_weights(net(), tmp_path / "w.pt")


def test_names_that_only_look_like_tensor_constructors(tmp_path: Path) -> None:
    torch.save({"w": torch.hub.load}, tmp_path / "w.pt")
    with pytest.raises(UnsafeWeights, match="it calls torch.hub.load,"):
        load_weights(net(), tmp_path / "w.pt")


def test_compressed_archives_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(nn.Linear(2, 2).state_dict(), path)
    rewrite(path, lambda name, old: b"\0" * 2**26 if name.endswith("data/0") else old, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**18
    with pytest.raises(UnsafeWeights, match="compressed"):
        load_weights(nn.Linear(2, 2), path)


def test_a_program_that_loads_one_exits_with_an_error(tmp_path: Path) -> None:
    path, canary = tmp_path / "w.pt", tmp_path / "canary"
    plant("zip", payload("system", canary), path)
    code = "import sys, torch; from liandan.models.weights import load_weights; load_weights(torch.nn.Linear(2, 2), sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "UnsafeWeights" in done.stderr and "system" in done.stderr and not canary.exists()


# ------------------------------------------------------------------------------------------------------------------ safetensors


def entry(begin: int, end: int, shape: list[int]) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


def forged(header: Any, data: bytes = b"\0" * 32, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


LIES = {
    "header longer than the file": forged({}, length=2**40),
    "header of 2^63": forged({}, length=2**63),
    "header over the cap": forged(b'{"__metadata__": {"x": "' + b"x" * (9 * 2**20) + b'"}}', b""),  # sound, but for its size
    "overlap": forged({"weight": entry(0, 16, [2, 2]), "bias": entry(8, 16, [2])}),
    "beyond the end": forged({"weight": entry(0, 2**40, [2**19, 2**19]), "bias": entry(2**40, 2**40 + 8, [2])}),
    "backwards": forged({"weight": entry(16, 0, [2, 2])}),
    "negative": forged({"weight": entry(-16, 0, [2, 2])}),
    "shape does not fit": forged({"weight": entry(0, 32, [2, 2])}),
    "shape overflows": forged({"weight": entry(0, 32, [2**62, 2**62])}),
    "a hole": forged({"weight": entry(0, 16, [2, 2]), "bias": entry(24, 32, [2])}),
    "bytes left over": forged({"weight": entry(0, 16, [2, 2])}),
    "not JSON": forged(b"\xff\xfe{]"),
    "nested": forged(b"[" * 100_000),
    "no offsets": forged({"weight": {"dtype": "F32", "shape": [2, 2]}}),
    "text offsets": forged({"weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": ["0", "16"]}}),
    "unknown type": forged({"weight": {"dtype": "P64", "shape": [8], "data_offsets": [0, 32]}}),
    "a list": forged([1, 2]),
    "a pickle": pickle.dumps({"weight": 1}),
    "nothing": b"",
}


@pytest.mark.parametrize("lie", list(LIES))
def test_lying_headers(tmp_path: Path, lie: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(LIES[lie])
    with pytest.raises(UnsafeWeights, match="fetch it again and compare its sha256"):
        load_weights(nn.Linear(2, 2), path)


def test_cut_short_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(nn.Linear(2, 2).state_dict(), path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(UnsafeWeights):
            load_weights(nn.Linear(2, 2), path)
    path.write_bytes(whole)
    load_weights(nn.Linear(2, 2), path)
