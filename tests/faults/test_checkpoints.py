"""Torn checkpoints, full disks, places that may not be written (R2, R3, R4)."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.moments import until_halted
from tests.faults.runs import assert_same_run, assert_whole, checkpoints, killed, resumed, words
from tests.journeys import differences, evaluation, fingerprint, rows
from tests.zygote import Child, Zygote

MODEL, OPTIMIZER, STATE, MANIFEST = "model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"


def cut(name: str, keep: Callable[[int], int]) -> Callable[[Path], None]:
    def damage(checkpoint: Path) -> None:
        content = (checkpoint / name).read_bytes()
        (checkpoint / name).write_bytes(content[: keep(len(content))])

    return damage


def flip(name: str) -> Callable[[Path], None]:
    def damage(checkpoint: Path) -> None:
        content = bytearray((checkpoint / name).read_bytes())
        content[len(content) * 2 // 3] ^= 1
        (checkpoint / name).write_bytes(content)

    return damage


def delete(name: str) -> Callable[[Path], None]:
    return lambda checkpoint: (checkpoint / name).unlink()


# what is done to a checkpoint, and the words that say what was found
DAMAGES = {
    "weights emptied": (cut(MODEL, lambda n: 0), MODEL),
    "optimizer cut in half": (cut(OPTIMIZER, lambda n: n // 2), OPTIMIZER),
    "state without its last byte": (cut(STATE, lambda n: n - 1), STATE),
    "one byte of the manifest": (cut(MANIFEST, lambda n: 1), MANIFEST),
    "a bit of the weights": (flip(MODEL), f"{MODEL} was altered"),
    "a bit of the state": (flip(STATE), f"{STATE} was altered"),
    "a bit of the manifest": (flip(MANIFEST), f"{MANIFEST} "),
    "optimizer deleted": (delete(OPTIMIZER), f"{OPTIMIZER} is missing"),
    "manifest deleted": (delete(MANIFEST), f"{MANIFEST} is missing"),
}


@pytest.fixture(scope="module")
def halfway(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Killed after step 10: whole checkpoints of steps 6 and 8."""
    return killed(zygote, tmp_path_factory.mktemp("halfway"), 10)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_and_said_once(zygote: Zygote, whole: Path, halfway: Path, damage: str, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    shutil.copytree(halfway, run)
    act, words = DAMAGES[damage]
    act(run / "checkpoints" / "step-00000008")
    child = resumed(zygote, run)
    assert child.wait() == 0, child.text()
    told = [line for line in child.text().splitlines() if "passed over" in line]
    assert len(told) == 1 and "killed/checkpoints/step-00000008" in told[0] and words in told[0], child.text()
    assert told[0] in (run / "log.txt").read_text(encoding="utf-8")
    assert "resumed at step 6" in child.text()
    assert_same_run(whole, run)


def test_an_unfinished_write_is_no_checkpoint(zygote: Zygote, whole: Path, halfway: Path, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    shutil.copytree(halfway, run)
    for left in ("step-00000008.tmp", "step-00000010.tmp", "step-00000012.tmp"):
        shutil.copytree(run / "checkpoints" / "step-00000008", run / "checkpoints" / left)
    (run / "checkpoints" / "step-00000010.tmp" / MANIFEST).unlink()
    child = resumed(zygote, run)
    assert child.wait() == 0, child.text()
    assert "resumed at step 8" in child.text() and "passed over" not in child.text()
    assert_same_run(whole, run)


@pytest.mark.parametrize("pointer", ["deleted", "torn", "points nowhere"])
def test_a_lost_pointer_costs_nothing(zygote: Zygote, whole: Path, halfway: Path, pointer: str, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    shutil.copytree(halfway, run)
    last = run / "checkpoints" / "last.json"
    if pointer == "deleted":
        last.unlink()
    else:
        last.write_text('{"step": 8, "check' if pointer == "torn" else '{"step": 11, "checkpoint": "step-00000011"}')
    child = resumed(zygote, run)
    assert child.wait() == 0, child.text()
    assert "resumed at step 8" in child.text()
    assert_same_run(whole, run)


def test_without_a_whole_checkpoint_the_run_begins_anew(zygote: Zygote, whole: Path, halfway: Path, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    shutil.copytree(halfway, run)
    for name in ("step-00000006", "step-00000008"):
        flip(MODEL)(run / "checkpoints" / name)
    child = resumed(zygote, run)
    assert child.wait() == 0, child.text()
    assert child.text().count("passed over") == 2 and "from zero" in child.text()
    assert_same_run(whole, run)


FULL = re.compile(r"needs [\d.]+ MB, [\d.]+ MB free")


def halted(zygote: Zygote, folder: Path, run: str, *overrides: str, moments: str, before: tuple[str, ...] = ()) -> Child:
    """A run that stands still after so many steps."""
    hooks = ["tests.faults.moments:at_step", *before]
    child = zygote.start(*words(run, *overrides), cwd=folder, before=hooks, env={"MOMENT": moments})
    until_halted(child)
    return child


def file_size(child: Child, limit: int) -> None:
    """No file of the process may grow beyond this many bytes: the write fails as on a full disk."""
    resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def test_a_disk_full_for_a_while_costs_a_checkpoint_and_not_the_run(zygote: Zygote, whole: Path, tmp_path: Path) -> None:
    child = halted(zygote, tmp_path, "killed", moments="5,10")
    run = tmp_path / "killed"
    file_size(child, 100)  # not even a row of metrics.jsonl, nor a line of what the child says: its output is a file too
    child.signal(signal.SIGCONT)
    until_halted(child)
    assert len(rows(run)) == 5
    assert checkpoints(run) == ["step-00000004"]
    assert_whole(run)
    file_size(child, resource.RLIM_INFINITY)
    child.signal(signal.SIGCONT)
    assert child.wait() == 0, child.text()
    assert "Traceback" not in child.text()
    assert not differences(fingerprint(whole), fingerprint(run))
    assert checkpoints(run) == ["step-00000004", "step-00000012"]
    assert_whole(run)


def test_a_best_checkpoint_that_could_not_be_written_is_not_the_best(zygote: Zygote, tmp_path: Path) -> None:
    # judged so that the evaluation of step 6 is better than that of step 12
    child = halted(zygote, tmp_path, "run", "evaluate.best={metric: val/loss, mode: max}", moments="5,7")
    file_size(child, 100_000)
    child.signal(signal.SIGCONT)
    until_halted(child)
    assert "checkpoint of step 6 not written" in child.text()
    file_size(child, resource.RLIM_INFINITY)
    child.signal(signal.SIGCONT)
    assert child.wait() == 0, child.text()
    best = json.loads((tmp_path / "run" / "checkpoints" / "best.json").read_text())
    assert best["step"] == 12
    assert evaluation(tmp_path / "run")["loss"] == best["value"]


def test_a_disk_full_to_the_end_is_said_and_the_run_can_go_on(zygote: Zygote, whole: Path, tmp_path: Path) -> None:
    child = halted(zygote, tmp_path, "killed", moments="5")
    run = tmp_path / "killed"
    file_size(child, 100_000)  # rows fit, tensors do not
    child.signal(signal.SIGCONT)
    assert child.wait() not in (0, -signal.SIGXFSZ), child.text()
    assert FULL.search(child.text().splitlines()[-1]), child.text()
    assert "Traceback" not in child.text()
    assert checkpoints(run) == ["step-00000004"]
    assert_whole(run)
    child = resumed(zygote, run)
    assert child.wait() == 0, child.text()
    assert_same_run(whole, run)


def mount(place: Path) -> bool:
    """A file system of 4 MB, room for three checkpoints and what else a run writes; false where this user may not mount one."""
    place.mkdir(exist_ok=True)
    return not subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True, check=False).returncode


def unmount(place: Path) -> None:
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def may_mount() -> bool:
    with tempfile.TemporaryDirectory() as place:
        if mount(Path(place)):
            unmount(Path(place))
            return True
    return False


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    assert mount(tmp_path / "盘")
    try:
        yield tmp_path / "盘"
    finally:
        unmount(tmp_path / "盘")


def fill(path: Path, but: int = 0) -> None:
    """Take all the room there is, but for so many bytes."""
    with open(path, "wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        file.truncate(max(0, file.tell() - but))


if shutil.which("mount") and may_mount():  # elsewhere the limits on file sizes above are what there is

    def test_a_file_system_that_runs_full(zygote: Zygote, whole: Path, disk: Path) -> None:
        child = halted(zygote, disk.parent, f"{disk.name}/killed", moments="5")
        run = disk / "killed"
        fill(disk / "filler")
        child.signal(signal.SIGCONT)
        assert child.wait() not in (0, -signal.SIGXFSZ), child.text()
        assert FULL.search(child.text().splitlines()[-1]), child.text()
        assert "Traceback" not in child.text()
        assert checkpoints(run) == ["step-00000004"]
        assert_whole(run)
        again = [*words(f"{disk.name}/killed"), "--resume"]
        child = zygote.run(*again, cwd=disk.parent)  # still full
        assert child.wait() != 0 and FULL.search(child.text()) and "Traceback" not in child.text(), child.text()
        assert checkpoints(run) == ["step-00000004"]
        assert_whole(run)
        (disk / "filler").unlink()
        child = zygote.run(*again, cwd=disk.parent)
        assert child.wait() == 0, child.text()
        assert_same_run(whole, run)

    def test_too_little_room_is_said_before_the_first_step(zygote: Zygote, disk: Path) -> None:
        fill(disk / "filler", but=600_000)
        child = halted(zygote, disk.parent, f"{disk.name}/killed", moments="0")
        assert "the disk may run full" in child.text(), child.text()
        child.signal(signal.SIGKILL)


# --- R4 ----------------------------------------------------------------------------------------------------------------------------

NO_OVERRIDE = "tests.faults.limits:no_override"


def assert_refused(child: Child, path: str) -> None:
    assert child.wait() not in (0, 130, 143) and child.wait() > 0, child.text()
    assert path in child.text().splitlines()[-1], child.text()
    assert "ermission denied" in child.text() and "Traceback" not in child.text(), child.text()


def test_a_place_that_may_not_be_written_is_named(zygote: Zygote, tmp_path: Path) -> None:
    place = tmp_path / "只读"
    place.mkdir(mode=0o555)
    assert_refused(zygote.run(*words("只读/run"), cwd=tmp_path, before=[NO_OVERRIDE]), "只读/run")
    (tmp_path / "runs").mkdir(mode=0o555)
    assert_refused(zygote.run(*words("x")[:-1], cwd=tmp_path, before=[NO_OVERRIDE]), "runs/tiny-digits")


def test_a_run_that_may_not_be_written_is_named(zygote: Zygote, halfway: Path, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    shutil.copytree(halfway, run)
    for path in (run, *run.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert_refused(zygote.run(*words("killed"), "--resume", cwd=tmp_path, before=[NO_OVERRIDE]), "killed/lock")
    (run / "lock").chmod(0o644)
    assert_refused(zygote.run(*words("killed"), "--resume", cwd=tmp_path, before=[NO_OVERRIDE]), "killed/")
    assert_refused(zygote.run("evaluate", "killed", cwd=tmp_path, before=[NO_OVERRIDE]), "killed/evaluation")


def test_permission_lost_on_the_way_ends_the_run(zygote: Zygote, whole: Path, tmp_path: Path) -> None:
    child = halted(zygote, tmp_path, "killed", moments="5", before=(NO_OVERRIDE,))
    run = tmp_path / "killed"
    (run / "checkpoints").chmod(0o555)
    child.signal(signal.SIGCONT)
    assert_refused(child, "killed/checkpoints/step-00000006")
    (run / "checkpoints").chmod(0o755)
    assert checkpoints(run) == ["step-00000004"]
    assert_whole(run)
    child = resumed(zygote, run)
    assert child.wait() == 0, child.text()
    assert_same_run(whole, run)
