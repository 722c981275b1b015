"""A frozen base that is too large for a run directory: named by hash, proven when it is opened, brought in when asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from liandan.recipe import find, load_recipe
from liandan.runs.layout import Layout, RunError
from liandan.runtime import base


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "模型" / "model.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"\0" * 1000)
    return file


def begun(weights: Path, to: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Layout, str]:
    monkeypatch.setattr(base, "_KEPT", 999)
    recipe = load_recipe(find("sft/tiny"), ["model.adapter={name: lora}", f"model.weights={weights}"])
    layout = Layout(to)
    to.mkdir()
    return layout, base.keep(recipe, layout, weights)


def test_it_is_found_where_it_is_and_comes_along_when_packed(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, told = begun(weights, tmp_path / "run", monkeypatch)
    assert "runs pack" in told and [p.name for p in layout.base.iterdir()] == ["reference.json"]
    recipe = load_recipe(find("sft/tiny"))
    assert base.at_home(recipe, layout).model.weights == str(weights)
    named = json.loads((layout.base / "reference.json").read_text())
    assert named["files"][0]["bytes"] == 1000 and named["asked"]["model.weights"] == str(weights)

    assert base.pack(layout) == 1000 and base.pack(layout) == 0
    weights.unlink()
    moved = Layout(tmp_path / "elsewhere")
    layout.root.rename(moved.root)
    assert base.at_home(recipe, moved).model.weights == str(moved.base / "model.safetensors")


def test_another_file_in_its_place_is_refused(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, _ = begun(weights, tmp_path / "run", monkeypatch)
    weights.write_bytes(b"\1" * 1000)
    for action in (lambda: base.at_home(load_recipe(find("sft/tiny")), layout), lambda: base.pack(layout)):
        with pytest.raises(RunError, match="another one"):
            action()
    weights.unlink()
    with pytest.raises(RunError, match="which is not there; bring the file back"):
        base.at_home(load_recipe(find("sft/tiny")), layout)
