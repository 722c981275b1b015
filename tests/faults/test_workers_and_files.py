"""Data workers that die, hang or raise (R6), and broken images among good ones (R7)."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.faults import photos
from tests.faults.moments import children_of, state_of, until, until_halted
from tests.faults.runs import assert_same_run, assert_whole, command_line, words
from tests.journeys import differences, evaluation, fingerprint, rows
from tests.zygote import DEADLINE, Child, Zygote

WORKERS = ["data.workers=2"]


def with_workers(zygote: Zygote, folder: Path, *overrides: str) -> tuple[Child, list[int]]:
    """A run that stands still before step 6, and its data workers, which do not."""
    child = zygote.start(*words("run", *WORKERS, *overrides), cwd=folder, before=["tests.faults.moments:at_step"], env={"MOMENT": "5"})
    until_halted(child)
    workers = children_of(child.pid)
    assert len(workers) == 2
    return child, workers


def assert_goes_on(zygote: Zygote, whole: Path, run: Path) -> None:
    assert_whole(run)
    child = zygote.run(*words("run", *WORKERS), "--resume", cwd=run.parent)
    assert child.wait() == 0, child.text()
    assert_same_run(whole, run)


def assert_same_bits(a: Path, b: Path) -> None:
    found = differences(fingerprint(a), fingerprint(b))
    assert not found, "\n".join(found[:9])


@pytest.mark.parametrize("which", [0, 1])
def test_a_killed_worker_is_named_with_the_samples_awaited(zygote: Zygote, whole: Path, which: int, tmp_path: Path) -> None:
    child, workers = with_workers(zygote, tmp_path, "data.worker_timeout=10")
    os.kill(workers[which], signal.SIGKILL)
    child.signal(signal.SIGCONT)
    assert child.wait() == 1, child.text()
    told = child.text().splitlines()[-1]
    assert f"(pid {workers[which]}) was killed" in told and re.search(r"awaited: (\d/\d{4}\.png, ){3}", told), child.text()
    assert "Traceback" not in child.text()
    until(lambda: not any(map(state_of, workers)), "the workers' end")
    assert_goes_on(zygote, whole, tmp_path / "run")


def test_a_worker_that_is_killed_during_a_save_does_not_spoil_it(zygote: Zygote, whole: Path, tmp_path: Path) -> None:
    child = zygote.start(*words("run", *WORKERS), cwd=tmp_path, before=["tests.faults.moments:in_save"], env={"MOMENT": "8"})
    until_halted(child)
    worker = children_of(child.pid)[0]
    os.kill(worker, signal.SIGKILL)
    child.signal(signal.SIGCONT)
    assert child.wait() == 1, child.text()
    assert f"(pid {worker}) was killed" in child.text().splitlines()[-1], child.text()
    assert "step-00000008" in os.listdir(tmp_path / "run" / "checkpoints")
    assert_goes_on(zygote, whole, tmp_path / "run")


def test_workers_that_hang_are_waited_for_no_longer_than_asked(zygote: Zygote, whole: Path, tmp_path: Path) -> None:
    # not a fork: what python does at its end, waiting for its children, belongs to this
    run = tmp_path / "run"
    program = command_line(tmp_path, *words("run", *WORKERS, "data.worker_timeout=2", "train.duration.steps=100000"))
    until(lambda: len(rows(run)) >= 5 if (run / "metrics.jsonl").exists() else program.poll() is not None, "the first steps")
    workers = children_of(program.pid)
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    try:
        assert program.wait(DEADLINE) == 1
    finally:
        for worker in workers:
            if state_of(worker):
                os.kill(worker, signal.SIGKILL)
    told = (tmp_path / "output.txt").read_text(encoding="utf-8")
    assert re.search(r"no batch for 2 s, while the batch of these samples was awaited: (\d/\d{4}\.png, ){3}", told), told
    assert "Traceback" not in told
    assert_whole(run)


# --- R7 ----------------------------------------------------------------------------------------------------------------------------

RECIPE = """\
version: 1
task: image_classification
data:
  train: 照片/训练集
  val: {hold_out: 0.25}
  max_unreadable: 0.2
  workers: 0
model: {name: liandan/lenet5, dropout: 0.1}
train: {duration: {steps: 12}, batch_size: 8, threads: 1}
evaluate: {every: {steps: 6}, metrics: [loss, accuracy]}
checkpoint: {every: {steps: 4}}
"""
# a bomb that is decoded takes 900 MB
IN_LITTLE_MEMORY = {"before": ["tests.faults.limits:address_space"], "env": {"ADDRESS_SPACE": str(600 << 20)}}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe and photographs, 8 of 48 of them unusual or broken."""
    folder = tmp_path_factory.mktemp("混合")
    root = photos.good(folder / "照片" / "训练集")
    photos.odd(root)
    photos.broken(root)
    (folder / "照片.yaml").write_text(RECIPE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(zygote: Zygote, mixed: Path) -> Path:
    child = zygote.run("train", "照片.yaml", "run.dir=运行/甲", cwd=mixed, **IN_LITTLE_MEMORY)
    assert child.wait() == 0, child.text()
    return mixed / "运行" / "甲"


def test_data_check_lists_each_broken_file_with_its_reason(zygote: Zygote, mixed: Path) -> None:
    child = zygote.run("data", "check", "照片/训练集", cwd=mixed, **IN_LITTLE_MEMORY)
    assert child.wait() == 1, child.text()
    for name, reason in photos.BROKEN.items():
        line = next((line for line in child.text().splitlines() if name in line and "cannot be read" in line), "")
        assert reason in line.lower(), child.text()
    assert not [line for line in child.text().splitlines() if "cannot be read" in line and any(name in line for name in photos.ODD)]
    child = zygote.run("data", "check", "照片/训练集", "--json", cwd=mixed)
    assert child.wait() == 1
    assert sorted(row["file"] for row in json.loads(child.text())["unreadable"]) == sorted(photos.BROKEN)


def test_training_replaces_broken_images_and_counts_them(trained: Path) -> None:
    state = json.loads((trained / "checkpoints" / "step-00000012" / "state.json").read_text())
    held_out = json.loads((trained / "data.json").read_text())["samples"]
    left_out = evaluation(trained)["unreadable"]
    assert len(state["progress"]["unreadable"]) + left_out == len(photos.BROKEN)
    assert evaluation(trained)["samples"] == held_out["val"] - left_out
    told = (trained / "log.txt").read_text(encoding="utf-8")
    assert f"{len(photos.BROKEN) - left_out} unreadable training samples replaced: " in told
    assert sum(name in told for name in photos.BROKEN) == len(photos.BROKEN) - left_out
    assert len(rows(trained)) == 12


@pytest.mark.parametrize("workers", [0, 2])
def test_the_replacement_is_the_same_twice(zygote: Zygote, mixed: Path, trained: Path, workers: int, tmp_path: Path) -> None:
    child = zygote.run("train", "照片.yaml", f"data.workers={workers}", f"run.dir={tmp_path}/乙", cwd=mixed)
    assert child.wait() == 0, child.text()
    assert_same_bits(trained, tmp_path / "乙")


def test_too_many_broken_images_end_the_run(zygote: Zygote, mixed: Path, tmp_path: Path) -> None:
    for workers in (0, 2):
        overrides = ["data.max_unreadable=0.03", f"data.workers={workers}", f"run.dir={tmp_path}/{workers}"]
        child = zygote.run("train", "照片.yaml", *overrides, cwd=mixed)
        assert child.wait() == 1, child.text()
        told = child.text().splitlines()[-1]
        assert "2 of 36 samples cannot be read" in told and "data.max_unreadable = 0.03" in told and "liandan data check" in told
        assert sum(name in told for name in photos.BROKEN) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_raise_stops_at_the_first_broken_image(zygote: Zygote, mixed: Path, workers: int, tmp_path: Path) -> None:
    overrides = ["data.unreadable=raise", f"data.workers={workers}", f"run.dir={tmp_path}/run"]
    child = zygote.run("train", "照片.yaml", *overrides, cwd=mixed)
    assert child.wait() == 1, child.text()
    told = child.text().splitlines()[-1]
    assert sum(name in told for name in photos.BROKEN) == 1 and "data.unreadable=skip" in told
    assert "Traceback" not in child.text()


def test_nothing_readable_is_told_by_its_first_file(zygote: Zygote, tmp_path: Path) -> None:
    root = photos.good(tmp_path / "坏", each=3)
    for path in root.rglob("*.jpg"):
        path.write_bytes(b"\xff\xd8\xff")
    child = zygote.run("train", "坏", "run.dir=run", cwd=tmp_path)
    assert child.wait() == 2 and "坏/狗/照片00.jpg" in child.text() and "Traceback" not in child.text(), child.text()


def test_plain_data_whose_first_image_is_broken(zygote: Zygote, tmp_path: Path) -> None:
    root = photos.good(tmp_path / "数据", each=6)
    (root / "狗" / "照片00.jpg").write_bytes(b"")
    child = zygote.run("train", "数据", "train.duration.steps=2", "data.val=null", "train.threads=1", "run.dir=run", cwd=tmp_path)
    assert child.wait() == 0, child.text()
    assert "1 unreadable training samples replaced: 狗/照片00.jpg" in child.text()


def test_a_broken_image_met_after_a_resume_is_counted_once(zygote: Zygote, mixed: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(mixed / "照片", tmp_path / "照片")
    shutil.copy(mixed / "照片.yaml", tmp_path)
    child = zygote.run("train", "照片.yaml", "run.dir=run", cwd=tmp_path, before=["tests.faults.moments:die_at_step"], env={"MOMENT": "7"})
    assert child.wait() == -signal.SIGKILL
    child = zygote.run("train", "照片.yaml", "run.dir=run", "--resume", cwd=tmp_path)
    assert child.wait() == 0, child.text()
    assert_same_bits(trained, tmp_path / "run")
