"""What changes between two sessions of a run: processes and workers (R10), data (R11), recipe (R12), and who writes (R13)."""

from __future__ import annotations

import hashlib
import shutil
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.faults import photos
from tests.faults.moments import children_of, until_halted
from tests.faults.runs import assert_same_run, finished, free_port, killed, resumed, words
from tests.journeys import rows, weights
from tests.zygote import Child, Zygote

AT_STEP = ["tests.faults.moments:at_step"]
DOUBLE = "train.precision=fp64"  # adaptive optimizers make much of rounding


def group(zygote: Zygote, folder: Path, processes: int, *arguments: str, moment: str | None = None) -> list[Child]:
    """The processes of one run."""
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()} if processes > 1 else {}
    moments = {} if moment is None else {"MOMENT": moment}
    before = [] if moment is None else AT_STEP
    return [zygote.start(*arguments, cwd=folder, env={**shared, **moments, "RANK": str(r)}, before=before) for r in range(processes)]


@pytest.fixture(scope="module")
def whole_double(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(zygote, tmp_path_factory.mktemp("double"), DOUBLE)


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 3)])
def test_another_number_of_processes_keeps_order_and_weights(
    zygote: Zygote, whole_double: Path, first: int, then: int, tmp_path: Path
) -> None:
    children = group(zygote, tmp_path, first, *words("run", DOUBLE), moment="7")
    for child in children:
        until_halted(child)
    for child in children:
        child.signal(signal.SIGKILL)
    assert [child.wait() for child in children] == [-signal.SIGKILL] * first
    children = group(zygote, tmp_path, then, *words("run", DOUBLE), "--resume")
    assert [child.wait() for child in children] == [0] * then, children[0].text()
    run = tmp_path / "run"
    assert "resumed at step 6" in children[0].text()
    assert len(rows(run)) == 12
    for a, b in zip(rows(whole_double), rows(run), strict=True):
        assert a.keys() == b.keys()
        assert all(a[key] == pytest.approx(b[key], rel=1e-6) for key in a), (a, b)
    expected, found = weights(whole_double), weights(run)
    for name in expected:
        assert np.allclose(expected[name], found[name], rtol=0, atol=1e-6), name


def test_every_process_has_its_part_of_a_batch_that_nobody_divided(zygote: Zygote, tmp_path: Path) -> None:
    children = group(zygote, tmp_path, 2, *words("run", "train.micro_batch_size=auto", "train.batch_size=15", "train.duration.steps=2"))
    assert [child.wait() for child in children] == [0, 0], children[0].text()
    assert "train.micro_batch_size = 8: the batch of 15 shared out among 2 processes" in children[0].text()


@pytest.mark.parametrize(("first", "then"), [(0, 3), (3, 0)])
def test_another_number_of_workers_changes_nothing(zygote: Zygote, whole: Path, first: int, then: int, tmp_path: Path) -> None:
    run = killed(zygote, tmp_path, 6, f"data.workers={first}")
    child = resumed(zygote, run, f"data.workers={then}")
    assert child.wait() == 0, child.text()
    assert f"changed on resume: data.workers: {first} -> {then}" in child.text()
    assert_same_run(whole, run)


# --- R11 ---------------------------------------------------------------------------------------------------------------------------

RECIPE = """\
version: 1
task: image_classification
data: {train: 照片, val: {hold_out: 0.25}, workers: 0}
model: {name: liandan/lenet5}
train: {duration: {steps: 8}, batch_size: 8, threads: 1}
evaluate: {every: {steps: 4}, metrics: [loss, accuracy]}
checkpoint: {every: {steps: 3}}
"""
TRAIN = ["train", "照片.yaml", "run.dir=run"]


@pytest.fixture(scope="module")
def on_photos(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs, a recipe, and a run on them that was killed after step 5."""
    folder = tmp_path_factory.mktemp("照片")
    photos.good(folder / "照片")
    (folder / "照片.yaml").write_text(RECIPE, encoding="utf-8")
    child = zygote.run(*TRAIN, cwd=folder, before=["tests.faults.moments:die_at_step"], env={"MOMENT": "5"})
    assert child.wait() == -signal.SIGKILL, child.text()
    return folder


@pytest.fixture
def place(on_photos: Path, tmp_path: Path) -> Path:
    return shutil.copytree(on_photos, tmp_path / "place")


def add(root: Path) -> None:
    Image.fromarray(photos.pattern(40, 77)).save(root / "猫" / "新.jpg")


def remove(root: Path) -> None:
    (root / "狗" / "照片03.jpg").unlink()


def alter(root: Path) -> None:
    Image.fromarray(photos.pattern(40, 78)).save(root / "狗" / "照片05.jpg", quality=30)


def tree(run: Path) -> dict[str, str]:
    """What a run directory holds, but for the log and the lock."""
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and path.name not in ("lock", "log.txt")]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


CHANGES = {
    "added": (add, ["added: 猫/新.jpg"]),
    "removed": (remove, ["removed: 狗/照片03.jpg"]),
    "altered": (alter, ["changed: 狗/照片05.jpg"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_data_is_refused_until_it_is_allowed(zygote: Zygote, place: Path, change: str) -> None:
    act, told = CHANGES[change]
    act(place / "照片")
    before = tree(place / "run")
    child = zygote.run(*TRAIN, "--resume", cwd=place)
    assert child.wait() == 3, child.text()
    assert all(line in child.text() for line in told) and "--allow-data-change" in child.text(), child.text()
    assert tree(place / "run") == before
    child = zygote.run("evaluate", "run", cwd=place)
    assert child.wait() == 2 and told[0] in child.text() and "--data" in child.text(), child.text()
    child = zygote.run(*TRAIN, "--resume", "--allow-data-change", cwd=place)
    assert child.wait() == 0, child.text()
    assert told[0] in (place / "run" / "log.txt").read_text(encoding="utf-8")
    child = zygote.run("evaluate", "run", "--json", cwd=place)  # the data is now what it was
    assert child.wait() == 0, child.text()


def test_the_first_five_differences_are_listed(zygote: Zygote, place: Path) -> None:
    for n in range(8):
        (place / "照片" / "猫" / f"照片{n:02d}.jpg").rename(place / "照片" / "猫" / f"改名{n:02d}.jpg")
    child = zygote.run(*TRAIN, "--resume", cwd=place)
    assert child.wait() == 3, child.text()
    lines = child.text().splitlines()
    assert sum("added: 猫/" in line or "removed: 猫/" in line for line in lines) == 5 and any("and 11 more" in line for line in lines), (
        lines
    )


def test_other_classes_are_refused_whatever_is_allowed(zygote: Zygote, place: Path) -> None:
    (place / "照片" / "鸟").mkdir()
    Image.fromarray(photos.pattern(40, 79)).save(place / "照片" / "鸟" / "一.jpg")
    before = tree(place / "run")
    child = zygote.run(*TRAIN, "--resume", "--allow-data-change", cwd=place)
    assert child.wait() == 3 and "labels.json" in child.text(), child.text()
    assert tree(place / "run") == before


# --- R12 ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def halfway(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return killed(zygote, tmp_path_factory.mktemp("halfway"), 10)


def test_a_changed_learning_rate_is_told_and_used(zygote: Zygote, whole: Path, halfway: Path, tmp_path: Path) -> None:
    run = shutil.copytree(halfway, tmp_path / "run")
    child = resumed(zygote, run, "optimizer.lr=0.0003")
    assert child.wait() == 0, child.text()
    assert "changed on resume: optimizer.lr: 0.003 -> 0.0003" in child.text()
    assert "optimizer.lr: 0.003 -> 0.0003" in (run / "log.txt").read_text()
    expected = [row["lr"] for row in rows(whole)]
    assert [row["lr"] for row in rows(run)] == pytest.approx([*expected[:8], *(lr / 10 for lr in expected[8:])])
    child = resumed(zygote, run, "optimizer.lr=0.0003")  # it is the run's own now
    assert child.wait() == 0 and "changed on resume" not in child.text(), child.text()


def test_another_architecture_is_refused_and_spoils_nothing(zygote: Zygote, whole: Path, halfway: Path, tmp_path: Path) -> None:
    run = shutil.copytree(halfway, tmp_path / "run")
    before = tree(run)
    child = resumed(zygote, run, "model.width=2")
    assert child.wait() == 3, child.text()
    told = child.text().splitlines()[-1]
    assert "features.0.weight" in told and "(12, 1, 5, 5)" in told and "(6, 1, 5, 5)" in told, child.text()
    assert tree(run) == before
    child = resumed(zygote, run)
    assert child.wait() == 0 and "changed on resume" not in child.text(), child.text()
    assert_same_run(whole, run)


def test_a_longer_duration_extends_a_finished_run(zygote: Zygote, whole: Path, tmp_path: Path) -> None:
    run = shutil.copytree(whole, tmp_path / "run")
    child = resumed(zygote, run, "train.duration.steps=16")
    assert child.wait() == 0, child.text()
    assert "changed on resume: train.duration.steps: 12 -> 16" in child.text()
    assert [row["step"] for row in rows(run)] == list(range(1, 17))


# --- R13 ---------------------------------------------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_and_a_dead_one_is_succeeded(zygote: Zygote, whole: Path, tmp_path: Path) -> None:
    first = zygote.start(*words("run", "data.workers=2"), cwd=tmp_path, before=AT_STEP, env={"MOMENT": "6"})
    until_halted(first)
    workers = children_of(first.pid)
    run = tmp_path / "run"
    before = tree(run)
    second = zygote.run(*words("run", "data.workers=2"), "--resume", cwd=tmp_path)
    assert second.wait() == 3, second.text()
    assert f"process {first.pid} on {socket.gethostname()}" in second.text()
    third = zygote.run(*words("run", "data.workers=2"), cwd=tmp_path)
    assert third.wait() == 2 and "already holds a run" in third.text(), third.text()
    assert tree(run) == before
    first.signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert len(workers) == 2  # they may outlive it for a moment and must not hold the run
    child = zygote.run(*words("run", "data.workers=2"), "--resume", cwd=tmp_path)
    assert child.wait() == 0, child.text()
    assert_same_run(whole, run)


def test_two_that_start_at_once(zygote: Zygote, whole: Path, tmp_path: Path) -> None:
    first = zygote.start(*words("run"), cwd=tmp_path, before=["tests.faults.moments:at_birth"])
    until_halted(first)
    for resume in ([], ["--resume"]):
        second = zygote.run(*words("run"), *resume, cwd=tmp_path)
        assert second.wait() == 3, second.text()
        assert f"process {first.pid} on {socket.gethostname()}" in second.text()
        assert (tmp_path / "run" / "lock").exists()
    first.signal(signal.SIGCONT)
    assert first.wait() == 0, first.text()
    assert_same_run(whole, tmp_path / "run")


def test_a_run_that_never_began_leaves_nothing(zygote: Zygote, tmp_path: Path) -> None:
    child = zygote.run(*words("run", "data.train=nowhere"), cwd=tmp_path)
    assert child.wait() == 2, child.text()
    assert not (tmp_path / "run").exists()
