import math
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from liandan.runs import fonts, plots

MATRIX = {"kind": "matrix", "values": [[5, 1], [0, 7]], "labels": ["猫", "狗"], "title": "混淆矩阵"}
LINES = {"kind": "lines", "series": [{"name": "猫", "x": [0, 0.5, 1], "y": [0, 0.9, 1]}], "x": "x", "y": "y", "diagonal": True}
BARS = {"kind": "bars", "labels": ["猫", "狗"], "values": {"train": [5, 3], "val": [1, 2]}, "title": "样本"}

CALIBRATION = {
    "kind": "calibration", "title": "校准", "edges": [0, 0.5, 0.75, 1], "confidence": [None, 0.6, 0.9], "accuracy": [None, 0.7, 0.5],
    "share": [0, 0.25, 0.75],
}  # fmt: skip
EXPLANATION = {
    "kind": "explanation", "title": "图.png", "caption": "猫", "labels": ["猫", "狗"], "values": [0.9, 0.1],
    "image": np.full((16, 24, 3), 200, dtype=np.uint8), "heat": np.eye(16, 24, dtype=np.float32),
}  # fmt: skip


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def rows(count: int = 40) -> list[dict]:
    made = []
    for step in range(1, count + 1):
        row = {"step": step * 10, "epoch": step / 4, "seconds": step, "train/loss": 3 / step, "lr": 0.1**step}
        made.append(row | ({"val/loss": 3 / step + 0.1, "val/accuracy": math.nan if step == 8 else step / count} if step % 4 == 0 else {}))
    return made


def has_color(image: np.ndarray, color: str) -> bool:
    wanted = np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)])
    return bool((np.abs(image - wanted).max(axis=2) < 12).sum() > 20)


def test_curves_draw_each_split_in_its_color(tmp_path: Path):
    image = pixels(plots.curves(rows(), tmp_path / "图" / "curves.png"))
    assert has_color(image, plots.COLORS[0])
    assert has_color(image, plots.COLORS[1])
    without = [{key: value for key, value in row.items() if not key.startswith("val/")} for row in rows()]
    assert not has_color(pixels(plots.curves(without, tmp_path / "train.png")), plots.COLORS[1])


def test_the_best_value_is_the_one_that_is_asked_for(tmp_path: Path):
    drawn = {
        name: pixels(plots.curves(rows(), tmp_path / f"{name}.png", best={"metric": "val/loss", "mode": mode}))
        for name, mode in (("low", "min"), ("high", "max"))
    }
    assert drawn["low"].shape != drawn["high"].shape or (drawn["low"] != drawn["high"]).any()
    assert plots._mode("val/loss", None) == "min"
    assert plots._mode("val/accuracy_top5", None) == "max"
    assert plots._mode("val/temperature", None) is None
    assert plots._mode("train/loss", None) is None


@pytest.mark.parametrize("count", [1, 2, 31, 500])
def test_curves_of_any_length(tmp_path: Path, count: int):
    assert pixels(plots.curves(rows(count), tmp_path / "curves.png")).std() > 5


def test_curves_with_nothing_finite_or_nothing_at_all(tmp_path: Path):
    plots.curves([{"step": 1, "epoch": 0, "seconds": 0, "train/loss": math.inf, "val/loss": math.nan}], tmp_path / "a.png")
    with pytest.raises(ValueError, match="nothing|no metric"):
        plots.curves([], tmp_path / "b.png")


def test_smoothing_follows_a_straight_line_without_lag():
    line = [float(value) for value in range(300)]
    assert plots._smooth(line) == pytest.approx(line)
    assert plots._smooth([1.0, math.nan, 3.0] * 50)[75] == pytest.approx(2.0, abs=0.5)


@pytest.mark.parametrize("spec", [MATRIX, LINES, BARS, CALIBRATION, EXPLANATION], ids=lambda spec: spec["kind"])
def test_figures_are_drawn_and_the_callers_settings_stay(tmp_path: Path, spec: dict):
    before = dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = pixels(plots.figure(spec, tmp_path / "f.png"))
    assert image.std() > 5
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


@pytest.mark.parametrize("count", [2, 3, 20, 21, 200])
def test_a_matrix_is_legible_at_any_size(tmp_path: Path, count: int):
    values = [[90 if row == column else (row + column) % 3 for column in range(count)] for row in range(count)]
    labels = [f"很长的类别名称 {number}" for number in range(count)]
    image = pixels(plots.figure({"kind": "matrix", "values": values, "labels": labels}, tmp_path / "m.png"))
    assert max(image.shape) < 2400
    assert image.std() > 5


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"kind": "pie"}, "matrix, lines, bars, calibration, explanation; received 'pie'"),
        ({}, "received None"),
        ({"kind": "matrix", "labels": ["a"]}, "needs the key 'values'"),
        ({"kind": "matrix", "labels": ["a"], "values": [[1, 2]]}, "1 x 2 values and 1 labels"),
        ({"kind": "lines", "series": [{"name": "猫", "x": [1], "y": []}]}, "'猫' has 1 x and 0 y"),
        ({"kind": "bars", "labels": ["a"], "values": [1, 2]}, "are 2, the labels 1"),
        ({**CALIBRATION, "share": [1]}, "3 bins"),
        ({**EXPLANATION, "values": [1]}, "2 labels"),
    ],
)
def test_what_cannot_be_drawn_is_named(tmp_path: Path, spec: dict, words: str):
    with pytest.raises(ValueError, match=words):
        plots.figure(spec, tmp_path / "f.png")
    assert not list(tmp_path.iterdir())


def test_dollars_and_underscores_are_letters(tmp_path: Path):
    plots.figure({**MATRIX, "labels": [r"$\frac{1}$", "_a"], "title": "$ $ $x_"}, tmp_path / "f.png")


def test_long_labels_keep_both_ends():
    assert plots._short("a") == "a"
    short = plots._short("Felis catus domesticus, long haired, number 17")
    assert short.startswith("Felis")
    assert short.endswith("17")
    assert plots._width(plots._short("花" * 50)) <= 26


def test_every_chinese_character_has_its_own_picture(tmp_path: Path):
    """Characters drawn as boxes would all look alike; Simplified, Traditional and rarer ones are told apart."""
    if fonts.chinese_family() is None:
        pytest.skip("no font with Chinese characters on this machine")
    drawn = []
    for number, character in enumerate("岩巖国國门門龘"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            path = plots.figure({"kind": "lines", "series": [], "title": character * 4}, tmp_path / f"{number}.png")
        drawn.append(pixels(path).tobytes())
    assert len(set(drawn)) == len(drawn)


def test_a_machine_without_such_a_font_is_told_once_how_to_mend_it(tmp_path: Path):
    """In a process of its own, whose matplotlib finds no font but its own."""
    script = """
import sys, warnings
from matplotlib import font_manager
font_manager.fontManager.ttflist = [font for font in font_manager.fontManager.ttflist if "DejaVu" in font.name]
from liandan.runs import fonts, plots
fonts.WHEEL = "a_wheel_that_is_not_installed"
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    for name in ("a", "猫", "狗"):
        plots.figure({"kind": "bars", "labels": [name], "values": [1]}, __import__("pathlib").Path(sys.argv[1]) / "f.png")
print(*[warning.message for warning in seen], sep="\\n")
"""
    answer = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert answer.stdout.count("liandan[zh]") == 1, answer.stdout
    assert len(answer.stdout.splitlines()) == 1
    assert (tmp_path / "f.png").exists()


def test_overlay_names_the_runs(tmp_path: Path):
    image = pixels(plots.overlay({"岩石/1": rows(), "岩石/2": rows(20)}, tmp_path / "o.png"))
    assert has_color(image, plots.COLORS[0])
    assert has_color(image, plots.COLORS[1])
    with pytest.raises(ValueError, match="none of the runs"):
        plots.overlay({"a": [], "b": []}, tmp_path / "p.png")
