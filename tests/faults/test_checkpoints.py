"""Torn checkpoints, full disks, places that may not be written (R2, R3, R4)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.runs import assert_same_run, finished, killed, resumed
from tests.zygote import Zygote

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
def whole(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(zygote, tmp_path_factory.mktemp("whole"))


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
