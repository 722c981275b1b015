"""Predictions on files, folders, videos and lists: in order, by little and little, and past everything that cannot be read."""

from __future__ import annotations

import csv
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liandan.data.video import frames
from tests.unit.deploy.photos import CLASSES, photograph, video
from tests.zygote import ROOT, Zygote


def test_a_folder_is_predicted_to_its_end_past_what_cannot_be_read(zygote: Zygote, run: Any, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "新图")
    for name in ("坏.png", "岩石/00.jpg"):
        (tmp_path / "新图" / name).write_bytes(b"no image")
    (tmp_path / "新图" / "notes.txt").write_text("not meant as an image")
    child = zygote.run("predict", str(run.path), "新图", "--json", "--out", "out/预测.csv", cwd=tmp_path)
    assert child.wait() == 1 and "2 could not be read" in child.text(), child.text()
    rows = json.loads(child.text()[: child.text().rindex("]") + 1])
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
    command = [sys.executable, "-m", "liandan", "predict", str(run.path), "-", "--out", "p.jsonl", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    listed = "\n".join(names).encode() + b"\n"
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, input=listed, timeout=300, env=environment)
    assert done.returncode == 0 and done.stdout == b"", done.stderr
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(row["input"], row["label"]) for row in rows] == [(name, Path(name).parent.name) for name in names]


@pytest.mark.parametrize(
    ("words", "said"), [(["--every", "soon"], "1s, 500ms or 0"), (["--out", "p.xlsx"], "ending in .csv or .jsonl")]
)
def test_usage_is_told(zygote: Zygote, run: Any, words: list[str], said: str, tmp_path: Path) -> None:
    child = zygote.run("predict", str(run.path), "a.png", *words, cwd=tmp_path)
    assert child.wait() == 2 and said in child.text() and "Traceback" not in child.text()


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


def test_a_telephone_held_upright(tmp_path: Path) -> None:
    """The matrix of a track's header, as telephones write it: shown a quarter turn clockwise."""
    path = video(tmp_path / "a.mp4", [CLASSES[0]] * 2)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    assert struct.unpack_from(">9i", content, at) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", content, at, 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    plain = next(frames(path))[1]
    path.write_bytes(content)
    turned = next(frames(path))[1]
    assert (turned == plain.rot90(-1, (1, 2))).all()
    assert turned[:, :32, 32:].float().mean() > 2 * turned[:, :32, :32].float().mean()  # the patch was at the top left


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


def test_an_empty_folder_is_told(run: Any, tmp_path: Path) -> None:
    (row,) = run.predict([str(tmp_path)])
    assert "no image" in row["error"]
