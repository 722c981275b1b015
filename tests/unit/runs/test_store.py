import errno
import json
import math
import os
import resource
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from liandan.runs import store, tensors
from liandan.runs.layout import Layout
from liandan.runs.store import StoreError, newest_valid, prune, read_checkpoint, read_pointer, verify, write_checkpoint


def same(left: torch.Tensor, right: torch.Tensor) -> bool:
    bits = [tensor.detach().resolve_conj().contiguous().reshape(-1).view(torch.uint8) for tensor in (left, right) if tensor.numel()]
    return left.dtype == right.dtype and left.shape == right.shape and (not bits or torch.equal(*bits))


def every_kind() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    made = {name: torch.randint(0, 2, (3, 5)).to(getattr(torch, name)) for name in tensors._DTYPES if name != "float8_e8m0fnu"}
    made["transposed"] = torch.randn(3, 4).T
    made["tied"] = made["transposed"]
    made["part"] = made["transposed"][1:]
    made |= {"scalar": torch.tensor(3.5), "empty": torch.zeros(0, 4), "层.权重": torch.randn(2, requires_grad=True)}
    made |= {"square": (square := torch.randn(4, 4)), "square.T": square.T}  # the same memory, but not the same tensor
    made |= {"nan": torch.tensor([math.nan, math.inf, -0.0]), "format": torch.ones(2)}
    return made | {"conjugate": torch.randn(3, dtype=torch.complex64).conj()}


@pytest.mark.parametrize("shard_size", [10**9, 100, 1])
def test_every_tensor_comes_back_bit_for_bit(layout: Layout, shard_size: int):
    given = every_kind()
    document = {"step": 7, "文本": "炼丹", "numbers": [0.1, 1e-300, 2**63], "nothing": None}
    files = {"model.safetensors": given, "none.safetensors": {}}
    folder = write_checkpoint(layout, 7, files, {"state.json": document}, shard_size=shard_size)
    read, documents = read_checkpoint(folder)
    assert documents == {"state.json": document}
    assert read["none.safetensors"] == {}
    assert set(read["model.safetensors"]) == set(given)
    assert all(same(read["model.safetensors"][name], tensor) for name, tensor in given.items())
    assert read["model.safetensors"]["tied"] is read["model.safetensors"]["transposed"]
    assert folder == layout.checkpoint(7)
    assert read_pointer(layout.last) == {"step": 7, "checkpoint": "step-00000007", "finished": False, "reason": None}


def test_tied_weights_are_stored_once_and_any_reader_can_read_the_file(layout: Layout):
    weight = torch.randn(1000, 10)
    folder = write_checkpoint(layout, 1, {"model.safetensors": {"embed": weight, "head": weight}}, {})
    assert (folder / "model.safetensors").stat().st_size < 41_000
    loaded = load_file(folder / "model.safetensors")
    assert list(loaded) == ["embed"]
    assert same(loaded["embed"], weight)


def test_shards_have_the_form_of_the_hub(layout: Layout):
    given = {f"layer.{number}": torch.full((100,), float(number)) for number in range(5)}
    folder = write_checkpoint(layout, 1, {"model.safetensors": given}, {}, shard_size=800)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 2000
    assert index["weight_map"]["layer.4"] == "model-00003-of-00003.safetensors"
    assert all(same(load_file(folder / file)[name], given[name]) for name, file in index["weight_map"].items())


def test_data_is_aligned_to_its_own_width(layout: Layout):
    given = {"a": torch.ones(3, dtype=torch.uint8), "b": torch.ones(2), "c": torch.ones(1).double()}
    folder = write_checkpoint(layout, 1, {"model.safetensors": given}, {})
    content = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    assert [header[name]["data_offsets"] for name in "cba"] == [[0, 8], [8, 16], [16, 19]]


def test_estimate_is_what_the_files_take(layout: Layout):
    given = {"model.safetensors": every_kind()}
    folder = write_checkpoint(layout, 1, given, {})
    assert store.estimate(given) == (folder / "model.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("given", "documents", "words"),
    [
        ({"model.safetensors": {"w": torch.ones(2, device="meta")}}, {}, "'w'.*meta"),
        ({"model.safetensors": {"w": torch.eye(2).to_sparse()}}, {}, "'w'.*sparse"),
        ({"model.safetensors": {"w": 3.0}}, {}, "'w' is a float"),
        ({"model.pt": {}}, {}, "model.pt"),
        ({"../model.safetensors": {}}, {}, "NAME.safetensors"),
        ({}, {"state.json": {"loss": {"a": [1.0, math.nan]}}}, "loss.a.1 = nan"),
        ({}, {"MANIFEST.json": {}}, "MANIFEST"),
        ({}, {"state.txt": {}}, "NAME.json"),
    ],
)
def test_what_cannot_be_stored_is_named_before_anything_is_written(layout: Layout, given, documents, words: str):
    with pytest.raises(ValueError, match=words):
        write_checkpoint(layout, 1, given, documents)
    assert not layout.checkpoints.exists()


def test_a_tensor_changed_after_the_call_does_not_change_the_file(layout: Layout):
    weight = torch.ones(10)
    folder = write_checkpoint(layout, 1, {"model.safetensors": {"w": weight}}, {})
    weight.zero_()
    assert read_checkpoint(folder)[0]["model.safetensors"]["w"].sum() == 10


def test_the_same_step_is_replaced(layout: Layout, contents):
    write_checkpoint(layout, 1, contents(1), {"state.json": 1, "extra.json": 1})
    folder = write_checkpoint(layout, 1, contents(2), {"state.json": 2})
    assert read_checkpoint(folder)[1] == {"state.json": 2}
    assert sorted(path.name for path in layout.checkpoints.iterdir()) == ["last.json", "step-00000001"]


# --- torn checkpoints (fault R2) ------------------------------------------------------------------------------------------------------


def tears(size: int) -> list[tuple[str, int]]:
    return [("truncate", 0), ("truncate", 1), ("truncate", size // 2), ("truncate", size - 1), ("extend", 0), ("delete", 0)] + [
        ("flip", place) for place in sorted({0, 7, 8, size // 3, size // 2, size - 2, size - 1})
    ]


def test_a_torn_checkpoint_is_passed_over_with_one_warning(layout: Layout, contents):
    write_checkpoint(layout, 1, contents(1), {"state.json": {"step": 1}})
    folder = write_checkpoint(layout, 2, contents(2), {"state.json": {"step": 2}}, shard_size=500)
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 6  # two model shards and their index, the optimizer, state.json, MANIFEST.json
    cases = 0
    for name in names:
        path = folder / name
        whole = path.read_bytes()
        for kind, place in tears(len(whole)):
            if kind == "truncate":
                path.write_bytes(whole[:place])
            elif kind == "extend":
                path.write_bytes(whole + b" ")
            elif kind == "delete":
                path.unlink()
            else:
                path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            warnings: list[str] = []
            chosen = newest_valid(layout, warnings.append)
            assert chosen == layout.checkpoint(1), (name, kind, place)
            assert len(warnings) == 1
            assert str(folder) in warnings[0]
            assert name in warnings[0]
            with pytest.raises(StoreError, match="cannot be loaded"):
                read_checkpoint(folder)
            path.write_bytes(whole)
            cases += 1
    assert cases > 70
    assert newest_valid(layout, pytest.fail) == folder


def test_every_single_byte_of_a_manifest_counts(layout: Layout, contents):
    folder = write_checkpoint(layout, 3, contents(3), {})
    whole = (folder / "MANIFEST.json").read_bytes()
    for place in range(len(whole)):
        (folder / "MANIFEST.json").write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
        assert verify(folder) is not None, place


def test_an_unfinished_write_is_never_loaded_even_when_it_is_whole(layout: Layout, contents):
    write_checkpoint(layout, 1, contents(1), {})
    late = write_checkpoint(layout, 2, contents(2), {})
    late.rename(late.with_name(late.name + ".tmp"))
    warnings: list[str] = []
    assert newest_valid(layout, warnings.append) == layout.checkpoint(1)
    with pytest.raises(StoreError, match="unfinished"):
        read_checkpoint(late.with_name(late.name + ".tmp"))
    write_checkpoint(layout, 2, contents(4), {})
    assert read_checkpoint(layout.checkpoint(2))[0]["model.safetensors"]["head.weight"][0] == 4
    assert not late.with_name(late.name + ".tmp").exists()


def test_a_checkpoint_under_another_steps_name_is_refused(layout: Layout, contents):
    write_checkpoint(layout, 1, contents(1), {}).rename(layout.checkpoint(9))
    assert "step 1" in (verify(layout.checkpoint(9)) or "")


def test_the_pointer_leads_and_a_bad_pointer_is_no_harm(layout: Layout, contents):
    for step in (1, 2, 3):
        write_checkpoint(layout, step, contents(step), {})
    store.point(layout.last, 2)
    assert newest_valid(layout, pytest.fail) == layout.checkpoint(2)
    for text in ("", "{", "[]", '{"step": 3, "checkpoint": "../../../etc"}', '{"step": 9, "checkpoint": "step-00000009"}', "[" * 100_000):
        layout.last.write_text(text)
        assert newest_valid(layout, pytest.fail) == layout.checkpoint(3)
    layout.last.unlink()
    assert newest_valid(layout, pytest.fail) == layout.checkpoint(3)


def test_nothing_to_go_on_from(layout: Layout):
    assert newest_valid(layout, pytest.fail) is None
    store.finish(layout, finished=False, reason="the loss is not finite at step 3")
    assert newest_valid(layout, pytest.fail) is None
    assert read_pointer(layout.last) == {"step": None, "checkpoint": None, "finished": False, "reason": "the loss is not finite at step 3"}


def test_a_manifest_cannot_reach_out_of_its_folder(layout: Layout, contents):
    secret = layout.root / "secret.json"
    secret.write_text("{}")
    folder = write_checkpoint(layout, 1, contents(1), {})
    for name in ("../../secret.json", str(secret), "..\\secret.json"):
        entry = {"sha256": "0", "size": 2}
        (folder / "MANIFEST.json").write_bytes(store._manifest({"format": 1, "step": 1, "files": {name: entry}}))
        assert "no file of a checkpoint" in (verify(folder) or "")
    index = json.dumps({"weight_map": {"w": "../../secret.safetensors"}}).encode()
    (folder / "model.safetensors.index.json").write_bytes(index)
    entry = {"sha256": store.hashlib.sha256(index).hexdigest(), "size": len(index)}
    (folder / "MANIFEST.json").write_bytes(store._manifest({"format": 1, "step": 1, "files": {"model.safetensors.index.json": entry}}))
    with pytest.raises(StoreError, match="names files that"):
        read_checkpoint(folder)


# --- deleting ---------------------------------------------------------------------------------------------------------------------------


def steps(layout: Layout) -> list[int]:
    return [int(path.name[5:]) for path in sorted(layout.checkpoints.iterdir()) if path.is_dir()]


def test_prune_keeps_the_newest_the_best_the_pointed_at_and_the_protected(layout: Layout, contents):
    for step in range(1, 10):
        write_checkpoint(layout, step, contents(step), {})
    store.point(layout.best, 3, metric="val/accuracy", value=0.9)
    removed = prune(layout, 2, protect=[5])
    assert steps(layout) == [3, 5, 8, 9]
    assert sorted(path.name[-1] for path in removed) == ["1", "2", "4", "6", "7"]
    store.point(layout.last, 3)
    prune(layout, 1)
    assert steps(layout) == [3, 9]
    with pytest.raises(ValueError, match="at least 1"):
        prune(layout, 0)


def test_prune_does_not_count_torn_ones_and_clears_leftovers(layout: Layout, contents):
    for step in range(1, 7):
        write_checkpoint(layout, step, contents(step), {})
    for step in (3, 5, 6):
        (layout.checkpoint(step) / "optimizer.safetensors").write_bytes(b"")
    store.point(layout.last, 4)
    (layout.checkpoints / "step-00000007.tmp").mkdir()
    (layout.checkpoints / "step-00000001.trash").mkdir()
    layout.checkpoint(2).rename(layout.checkpoints / "step-00000002.old")
    prune(layout, 2)
    # 6 and 5 are torn but newer than all whole ones: left for a person; 4 and 2 are the newest whole ones, 2 got its name back.
    assert steps(layout) == [2, 4, 5, 6]
    assert newest_valid(layout, pytest.fail) == layout.checkpoint(4)


def test_what_cannot_be_deleted_is_only_a_warning(open_folder: Path, contents, in_child):
    layout = Layout(open_folder / "run")
    for step in (1, 2):
        write_checkpoint(layout, step, contents(step), {})

    def child() -> object:
        if os.getuid() == 0:
            os.setuid(65534)
        else:
            layout.checkpoints.chmod(0o555)
        warnings: list[str] = []
        return prune(layout, 1, warn=warnings.append), warnings

    answer = in_child(child)
    layout.checkpoints.chmod(0o755)
    assert "step-00000001 cannot be deleted: Permission denied" in answer
    assert steps(layout) == [1, 2]


# --- full and closed disks (faults R3, R4) ----------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path):
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not permitted here; the limit on file sizes stands in for it below")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_the_older_checkpoint_and_no_trace(small_disk: Path, contents):
    layout = Layout(small_disk)
    write_checkpoint(layout, 1, contents(1), {})
    for step in (1, 2):  # a replacement, and a new one
        with pytest.raises(StoreError, match=r"needs \d+\.\d MB, 1\.0 MB free at .*checkpoints") as error:
            write_checkpoint(layout, step, contents(2, size=200_000), {})
        assert isinstance(error.value.__cause__, OSError)
        assert error.value.__cause__.errno == errno.ENOSPC
        assert store.is_full(error.value)
        assert sorted(path.name for path in layout.checkpoints.iterdir()) == ["last.json", "step-00000001"]
        assert newest_valid(layout, pytest.fail) == layout.checkpoint(1)
    write_checkpoint(layout, 2, contents(2), {})  # the next interval, with less to write
    assert newest_valid(layout, pytest.fail) == layout.checkpoint(2)


def test_a_disk_that_fills_at_any_byte(small_disk: Path, contents):
    """From no space at all to just enough: whatever the write that fails, the older checkpoint stays and the new one is whole or absent."""
    layout = Layout(small_disk)
    write_checkpoint(layout, 1, contents(1), {"state.json": {}})
    outcomes = set()
    for pages in range(12):
        free = store.free_space(small_disk)
        (small_disk / "ballast").write_bytes(b"0" * (free - pages * 4096))
        try:
            write_checkpoint(layout, 2, contents(2, size=1500), {"state.json": {}})
            outcomes.add("written")
        except StoreError as error:
            outcomes.add("refused" if "free at" in str(error) else str(error))
        (small_disk / "ballast").unlink()
        left = {path.name for path in layout.checkpoints.iterdir() if path.is_dir()}
        assert left in ({"step-00000001"}, {"step-00000001", "step-00000002"})
        assert all(verify(layout.checkpoints / name) is None for name in left)
        if "step-00000002" in left:
            store.shutil.rmtree(layout.checkpoint(2))
            store.point(layout.last, 1)
    assert outcomes == {"written", "refused"}


def test_a_full_disk_after_a_kill_in_a_replacement(layout: Layout, contents, in_child):
    """The only whole checkpoint has stepped aside; the next write of its step fails as well."""
    folder = write_checkpoint(layout, 1, contents(1), {})
    folder.rename(folder.with_name(folder.name + ".old"))

    def child() -> object:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        with pytest.raises(StoreError):
            write_checkpoint(layout, 1, contents(2, size=20_000), {})
        return "refused"

    assert in_child(child) == "refused"
    assert newest_valid(layout, pytest.fail) == layout.checkpoint(1)


def test_a_limit_on_file_sizes_is_a_full_disk_too(layout: Layout, contents, in_child):
    write_checkpoint(layout, 1, contents(1), {})

    def child() -> object:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            write_checkpoint(layout, 2, contents(2, size=20_000), {})
        except StoreError as error:
            return error
        return "no error"

    assert "File too large; needs 0.2 MB" in in_child(child)
    assert steps(layout) == [1]
    assert newest_valid(layout, pytest.fail) == layout.checkpoint(1)


def test_a_folder_that_is_closed_is_named(open_folder: Path, contents, in_child):
    layout = Layout(open_folder / "run")
    write_checkpoint(layout, 1, contents(1), {})
    for folder in (layout.checkpoints, layout.root):
        folder.chmod(0o555)

    def child() -> object:
        if os.getuid() == 0:
            os.setuid(65534)  # root may write anywhere, chmod or not
        messages = []
        for action in (lambda: write_checkpoint(layout, 2, contents(2), {}), lambda: store.write_json_atomic(layout.environment, {})):
            try:
                action()
            except StoreError as error:
                messages.append(f"{error} {store.is_full(error)}")
        return messages

    answer = in_child(child)
    for folder in (layout.root, layout.checkpoints):
        folder.chmod(0o755)
    assert answer.count("Permission denied") == 2
    assert "True" not in answer
    assert str(layout.checkpoint(2)) in answer
    assert str(layout.environment) in answer
    assert newest_valid(layout, pytest.fail) == layout.checkpoint(1)


# --- small files ------------------------------------------------------------------------------------------------------------------------


def test_small_files_are_replaced_whole(layout: Layout):
    path = layout.evaluation("val") / "metrics.json"
    store.write_json_atomic(path, {"准确率": 0.1})
    assert store.read_json(path) == {"准确率": 0.1}
    with pytest.raises(ValueError, match="准确率 = inf"):
        store.write_json_atomic(path, {"准确率": math.inf})
    assert store.read_json(path) == {"准确率": 0.1}
    store.write_text_atomic(path, "text")
    assert [entry.name for entry in path.parent.iterdir()] == ["metrics.json"]
    with pytest.raises(StoreError, match="metrics.json is not JSON"):
        store.read_json(path)
    with pytest.raises(StoreError, match="absent.json"):
        store.read_json(layout.root / "absent.json")


def test_free_space_of_a_place_that_does_not_exist_yet(tmp_path: Path):
    assert store.free_space(tmp_path / "a" / "b") == pytest.approx(store.free_space(tmp_path), rel=0.01)
    assert store.free_space(tmp_path) > 0
