"""Predictions on files, folders, videos and lists: in order, by little and little, and past everything that cannot be read."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liandan.data.errors import Unreadable
from liandan.data.video import frames
from tests.unit.deploy.photos import CLASSES, photograph, video
from tests.zygote import ROOT


def predict(run: Any, *words: str, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "liandan", "predict", str(run.path), *words]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, input=stdin, timeout=300, env=environment, encoding="utf-8")


def test_a_folder_is_predicted_to_its_end_past_what_cannot_be_read(run: Any, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "新图")
    for name in ("坏.png", "岩石/00.jpg"):
        (tmp_path / "新图" / name).write_bytes(b"no image")
    (tmp_path / "新图" / "notes.txt").write_text("not meant as an image")
    done = predict(run, "新图", "--json", "--out", "out/预测.csv", cwd=tmp_path)
    assert done.returncode == 1 and "2 could not be read" in done.stderr, done.stderr
    rows = json.loads(done.stdout)
    assert [row["input"] for row in rows] == sorted(row["input"] for row in rows) and len(rows) == 50
    bad = [row for row in rows if "error" in row]
    assert {Path(row["input"]).name for row in bad} == {"坏.png", "00.jpg"} and all(set(row) == {"input", "error"} for row in bad)
    assert all(row["label"] == Path(row["input"]).parent.name for row in rows if "error" not in row)
    content = (tmp_path / "out" / "预测.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    lines = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
    assert list(lines[0]) == ["input", "label", "confidence", "top1_label", "top1_confidence", "top2_label", "top2_confidence", "error"]
    assert [(line["input"], line["label"]) for line in lines] == [(row["input"], row.get("label", "")) for row in rows]


def test_a_list_on_standard_input_is_read_as_it_comes(run: Any, photos: Path, tmp_path: Path) -> None:
    names = [str(photos / label / f"图 {k}.png") for k in range(3) for label in CLASSES]
    done = predict(run, "-", "--out", "p.jsonl", "--quiet", cwd=tmp_path, stdin="\n".join(names) + "\n")
    assert done.returncode == 0 and done.stdout == "", done.stderr
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["input"], row["label"]) for row in rows] == [(name, Path(name).parent.name) for name in names]


@pytest.mark.parametrize(
    ("words", "said"), [(["--every", "soon"], "1s, 500ms or 0"), (["--out", "p.xlsx"], "ending in .csv or .jsonl")]
)
def test_usage_is_told(run: Any, words: list[str], said: str, tmp_path: Path) -> None:
    done = predict(run, "a.png", *words, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_a_video_is_predicted_frame_by_frame(run: Any, tmp_path: Path) -> None:
    labels = [CLASSES[k // 4 % 2] for k in range(12)]  # a second of each
    path = video(tmp_path / "猫和岩石.mp4", labels)
    rows = list(run.predict([str(path)]))
    assert [row["label"] for row in rows] == labels
    assert [row["seconds"] for row in rows] == [k / 4 for k in range(12)]
    rows = list(run.predict([str(tmp_path)], every=1.0))
    assert [(row["seconds"], row["label"]) for row in rows] == [(0, labels[0]), (1, labels[4]), (2, labels[8])]


def test_frames_are_the_pixels_that_were_written(tmp_path: Path) -> None:
    path = video(tmp_path / "a.avi", [CLASSES[0]] * 3)
    seen = list(frames(path))
    assert [round(t, 3) for t, _ in seen] == [0, 0.25, 0.5]
    written = np.asarray(photograph(CLASSES[0], 0, 64)).astype(int)
    assert np.abs(seen[0][1].permute(1, 2, 0).numpy().astype(int)[:32, :32].mean((0, 1)) - written[:32, :32].mean((0, 1))).max() < 6
    assert next(frames(path, channels=1))[1].shape == (1, 64, 64)


def test_a_broken_video_stops_nothing(run: Any, photos: Path, tmp_path: Path) -> None:
    whole = video(tmp_path / "a.mpg", [CLASSES[0]] * 8).read_bytes()
    (tmp_path / "b.mp4").write_bytes(b"no video at all")
    (tmp_path / "a.mpg").write_bytes(whole[: len(whole) // 2])
    shutil.copy(photos / CLASSES[1] / "图 1.png", tmp_path / "c.png")
    rows = list(run.predict([str(tmp_path), str(tmp_path / "gone.mp4"), str(tmp_path / "gone.png")]))
    assert [row["label"] for row in rows if row["input"].endswith("c.png")] == [CLASSES[1]]
    assert sum(row["input"].endswith("a.mpg") and "label" in row for row in rows) >= 1
    for name in ("b.mp4", "gone.mp4", "gone.png"):
        (row,) = [row for row in rows if row["input"].endswith(name)]
        assert "error" in row, row
    with pytest.raises(Unreadable, match="no video"):
        list(frames(photos / CLASSES[0] / "图 1.txt"))


def test_an_empty_folder_is_told(run: Any, tmp_path: Path) -> None:
    (row,) = run.predict([str(tmp_path)])
    assert "no image" in row["error"]
