import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from liandan.runs import compare as comparing
from liandan.runs import store
from liandan.runs.layout import Layout, RunError, newest_unfinished
from liandan.runs.listing import flatten, list_runs, parameters, recipe_values, show, status
from liandan.runs.lock import lock
from liandan.runs.record import Record

RECIPE = """version: 1
task: image_classification
name: {name}
data: {{train: 照片/, val: {{hold_out: 0.2}}}}
optimizer: {{name: adamw, lr: {lr}}}
evaluate: {{best: {{metric: val/accuracy, mode: max}}}}
"""


def make(root: Path, stamp: str, lr: str = "1e-3", steps: int = 3, name: str = "岩石") -> Layout:
    layout = Layout(root / name / stamp)
    layout.root.mkdir(parents=True)
    layout.recipe.write_text("task: from_recipe\n", encoding="utf-8")
    layout.resolved.write_text(RECIPE.format(name=name, lr=lr), encoding="utf-8")
    store.write_json_atomic(layout.environment, {"torch": "2.0", "cpu": {"cores": steps}})
    with Record.open(layout, tensorboard=False) as record:
        for step in range(1, steps + 1):
            record.row(step, step / 2, step * 1.5, {"train/loss": 1 / step, "val/accuracy": [0.5, 0.6, 0.9, 0.7][step % 4]})
    store.write_checkpoint(layout, steps, {"model.safetensors": {"w": torch.ones(3, 4), "b": torch.ones(5)}}, {"state.json": {}})
    return layout


def test_each_status_is_told_from_the_files(tmp_path: Path):
    layout = make(tmp_path, "20250101-120000")
    assert status(layout) == ("interrupted", None)  # killed: it had no time to say anything
    store.finish(layout, finished=False, reason="interrupted by SIGTERM")
    assert status(layout) == ("interrupted", "interrupted by SIGTERM")
    store.finish(layout, finished=False, reason="the loss is not finite at step 3")
    assert status(layout) == ("failed", "the loss is not finite at step 3")
    store.finish(layout, finished=True)
    assert status(layout) == ("finished", None)
    assert store.read_pointer(layout.last) == {"step": 3, "checkpoint": "step-00000003", "finished": True, "reason": None}
    with lock(layout):
        assert status(layout)[0] == "running"
        script = "import sys; from pathlib import Path; from liandan.runs.layout import Layout; from liandan.runs.listing import status\n"
        other = subprocess.run(
            [sys.executable, "-c", script + "print(status(Layout(Path(sys.argv[1])))[0])", str(layout.root)], capture_output=True, text=True
        )
        assert other.stdout == "running\n", other.stderr
    assert status(layout)[0] == "finished"
    store.write_checkpoint(layout, 4, {}, {})  # extended
    assert status(layout)[0] == "interrupted"


def test_the_list_is_newest_first_and_json(tmp_path: Path):
    make(tmp_path, "20250101-120000", steps=3)
    newer = make(tmp_path, "20250102-120000", steps=1)
    (tmp_path / "not a run").mkdir()
    rows = list_runs(tmp_path)
    json.dumps(rows, allow_nan=False)
    assert [row["path"] for row in rows] == [str(newer.root), str(tmp_path / "岩石" / "20250101-120000")]
    assert rows[1] | {"path": "", "started": ""} == {
        "path": "", "name": "岩石", "task": "image_classification", "status": "interrupted", "reason": None, "step": 3,
        "best": {"metric": "val/accuracy", "value": 0.9, "step": 2}, "started": "",
    }  # fmt: skip
    assert rows[0]["started"].startswith("2025-01-02T12:00:00")
    assert list_runs(tmp_path / "nowhere") == []


def test_best_json_comes_before_the_rows(tmp_path: Path):
    layout = make(tmp_path, "20250101-120000")
    store.point(layout.best, 3, metric="val/f1", mode="max", value=0.25)
    assert show(layout)["best"] == {"metric": "val/f1", "value": 0.25, "step": 3}


def test_newest_unfinished(tmp_path: Path):
    runs = [make(tmp_path, f"2025010{day}-120000") for day in (1, 2, 3)]
    store.finish(runs[2], finished=True)
    assert newest_unfinished("岩石", tmp_path) == runs[1]
    runs[1].last.unlink()  # no checkpoint yet: goes on from zero
    assert newest_unfinished("岩石", tmp_path) == runs[1]
    for run in runs:
        store.finish(run, finished=True)
    assert newest_unfinished("岩石", tmp_path) is None
    assert newest_unfinished("nothing", tmp_path) is None


def test_show_is_json_and_finds_the_torn_checkpoint(tmp_path: Path):
    layout = make(tmp_path, "20250101-120000")
    torn = store.write_checkpoint(layout, 9, {"model.safetensors": {"w": torch.ones(2)}}, {})
    (torn / "model.safetensors").write_bytes(b"")
    shown = show(layout)
    json.dumps(shown, allow_nan=False)
    assert shown["parameters"] == 17
    assert [bool(checkpoint["fault"]) for checkpoint in shown["checkpoints"]] == [False, True]
    assert shown["metrics"] == {"train/loss": 1 / 3, "val/accuracy": 0.7}
    assert shown["recipe"]["optimizer"]["lr"] == 1e-3
    assert shown["bytes"] > 500


def test_parameters_are_counted_over_shards_or_taken_from_the_state(tmp_path: Path):
    layout = Layout(tmp_path)
    assert parameters(layout) is None
    weights = {"model.safetensors": {f"w{number}": torch.ones(10) for number in range(4)}}
    store.write_checkpoint(layout, 1, weights, {}, shard_size=50)
    assert parameters(layout) == 40
    store.write_checkpoint(layout, 2, weights, {"state.json": {"parameters": 1234}})
    assert parameters(layout) == 1234


def test_a_recipe_from_anywhere_does_no_harm(tmp_path: Path):
    layout = Layout(tmp_path)
    assert recipe_values(layout) == {}
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    started = time.monotonic()
    for text in (bomb, "a: &a [*a]", "a: [", "[" * 5000, "just text", "!!python/object/apply:os.system ['touch canary']", "a: \x00"):
        layout.resolved.write_text(text)
        assert recipe_values(layout) == {}, text[:30]
    assert time.monotonic() - started < 5
    assert not Path("canary").exists()
    layout.resolved.write_text("when: 2025-01-01\nhow: .inf\nno: no\nlr: 1e-4\n")
    values = recipe_values(layout)
    json.dumps(values, allow_nan=False)
    assert values["no"] == "no"
    assert values["lr"] == 1e-4


def test_flatten():
    assert flatten({"a": {"b": 1, "c": {}}, "d": [1, {"e": 2}]}) == {"a.b": 1, "a.c": {}, "d": [1, {"e": 2}]}
    assert flatten({}) == {}


def test_compare_shows_what_differs_and_nothing_else(tmp_path: Path):
    one, two = make(tmp_path, "20250101-120000", lr="1e-3", steps=3), make(tmp_path, "20250102-120000", lr="5e-4", steps=2)
    result = comparing.compare([one, two])
    json.dumps(result.to_json(), allow_nan=False)
    assert result.runs == ["岩石/20250101-120000", "岩石/20250102-120000"]
    assert result.recipe == {"optimizer.lr": [1e-3, 5e-4]}
    assert result.environment == {"cpu.cores": [3, 2]}
    assert result.last == {"train/loss": [1 / 3, 0.5], "val/accuracy": [0.7, 0.9]}
    assert result.best == {"train/loss": [0.5, 0.5], "val/accuracy": [0.9, 0.9]}
    assert result.seconds == [4.5, 3.0]
    assert result.steps == [3, 2]
    assert result.parameters == [17, 17]
    assert comparing.overlay([one, two], tmp_path / "o.png").stat().st_size > 5000
    with pytest.raises(RunError, match="two or more"):
        comparing.compare([one])


def test_runs_get_the_shortest_names_that_tell_them_apart(tmp_path: Path):
    layouts = [Layout(Path("runs/a/20250101-120000")), Layout(Path("runs/b/20250101-120000"))]
    assert comparing.names(layouts) == ["a", "b"]
    assert len(set(comparing.names([layouts[0], layouts[0]]))) == 2


def test_nothing_heavy_is_imported():
    script = "import sys, liandan.runs.compare; print([m for m in ('torch', 'matplotlib', 'tensorboard') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
