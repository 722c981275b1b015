"""Judging other data than the run's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from liandan.api import Run
from liandan.data.errors import DataError
from tests.unit.deploy.photos import CLASSES
from tests.zygote import Zygote


def test_other_data_is_read_as_it_says_and_has_a_name_of_its_own(zygote: Zygote, run: Run, photos: Path, tmp_path: Path) -> None:
    """A table whose columns no reader could guess; called val, it must not replace what training wrote of the run's own."""
    kept = (run.path / "evaluation" / "val" / "metrics.json").read_bytes()
    table = tmp_path / "val.csv"
    rows = [f"{photos / label / f'图 {number}.png'},{label}" for label in CLASSES for number in range(5)]
    table.write_text("\n".join(["文件,种类", *rows]) + "\n", encoding="utf-8")
    asked = {"path": str(table), "image": "文件", "label": "种类"}
    found = run.evaluate(asked)
    assert found.keys() == {f"val-given/{name}" for name in ("accuracy", "recall:猫", "auc")}
    assert json.loads((run.path / "evaluation" / "val-given" / "metrics.json").read_text())["samples"] == 5 * len(CLASSES)
    assert (run.path / "evaluation" / "val" / "metrics.json").read_bytes() == kept
    with pytest.raises(DataError, match="文件"):
        run.evaluate(str(table))
    words = [f"{{path: {table}, image: 文件, label: 种类}}", "--split", "新的", "--json"]
    child = zygote.run("evaluate", str(run.path), "--data", *words, cwd=tmp_path)
    assert child.wait() == 0, child.text()
    told = json.loads(child.text())
    assert told["新的/accuracy"] == pytest.approx(found["val-given/accuracy"])
    assert (run.path / "evaluation" / "新的" / "report.html").exists()
    child = zygote.run("evaluate", str(run.path), "--data", f"{{path: {table}, imag: 文件}}", cwd=tmp_path)
    assert child.wait() == 2 and "imag" in child.text() and "Traceback" not in child.text()
