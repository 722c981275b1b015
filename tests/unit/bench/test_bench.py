"""The benchmarks' scripts stay alive: two of them run small, and what makes the page is tried on figures that are known."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as command
from bench import inputs, machine
from bench.measure import ROOT, Failed, alternately, fresh
from bench.page import page, table
from bench.result import Line, Result
from bench.rows import ROWS


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)


def test_two_benchmarks_run_small_and_write_nothing():
    before = command.PAGE.read_bytes() if command.PAGE.exists() else None
    done = run("--quick", "help", "loop")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 1 + 4, done.stdout
    assert all("ms/step" in line for line in lines[3:]) and "not measured" not in done.stdout
    assert (command.PAGE.read_bytes() if command.PAGE.exists() else None) == before


def test_an_unknown_name_lists_the_known_ones():
    done = run("lop")
    assert done.returncode == 2 and all(name in done.stderr for name in ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_something_to_measure(name: str):
    assert callable(importlib.import_module(ROWS[name].module).measure)


def results() -> dict[str, Result]:
    known = Result([Line("a thing", "2.0 s", "1.0 s", 2.0, "at least 3", False, "2 1")], ["A note."], 0.5, 60.0, machine=machine.describe())
    return {name: known for name in ROWS}


def test_the_page_tells_figures_goals_failures_and_what_is_compared():
    found = results()
    found["scale"] = Result(error="Failed: no disk", machine=machine.describe())
    text = page(found)
    assert "| a thing | 2.0 s | 1.0 s | 2.00 | at least 3 | not met |" in text
    assert "| A thousand million samples | | not measured | | | |" in text and "no disk" in text
    assert all(benchmark.compares in text for benchmark in ROWS.values())
    assert machine.sentence(machine.describe()) in text and "A note." in text
    assert table({"help": found["help"]})[-1].endswith("| not met |")


def test_a_result_survives_its_journey_between_processes():
    result = results()["loop"]
    assert Result.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_the_page_waits_until_every_row_was_measured_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(command, "PAGE", tmp_path / "docs" / "benchmarks.md")
    whole = results()
    first = next(iter(whole))
    for name, result in whole.items():
        if name != first:
            command.keep(name, result)
    command.write()
    assert not command.PAGE.exists()
    command.keep(first, Result(lines=whole[first].lines, machine={"processor": "another"}))
    command.write()
    assert not command.PAGE.exists()
    command.keep(first, Result(lines=whole["help"].lines, machine=machine.describe()))
    command.write()
    assert "a thing" in command.PAGE.read_text()


def test_sides_take_turns_and_each_comes_first_in_turn():
    seen: list[str] = []

    def side(name: str) -> dict[str, Any]:
        seen.append(name)
        return {"seconds": 1.0}

    found = alternately({"a": lambda: side("a"), "b": lambda: side("b")}, 3)
    assert seen == ["a", "b", "b", "a", "a", "b"] and [len(rounds) for rounds in found.values()] == [3, 3]


def test_a_measured_process_that_fails_says_why(tmp_path: Path):
    assert fresh(["-c", "print('noise'); print('{\"seconds\": 2}')"], tmp_path)["seconds"] == 2
    with pytest.raises(Failed, match="ended with 3.*the reason"):
        fresh(["-c", "import sys; sys.exit(print('the reason', file=sys.stderr) or 3)"], tmp_path)


def test_inputs_are_what_readers_expect(tmp_path: Path):
    from liandan.data.readers import read

    digits = read(inputs.digits(tmp_path / "digits", quick=True, count=64), "idx", split="train")
    assert len(digits) == 64 and digits.size == (28, 28)
    photos = read(inputs.photos(tmp_path / "photos", 16, 32))
    assert len(photos) == 16 and photos.image(3).shape == (3, 32, 32) and len(photos.labels) == 8
    file = inputs.sparse_tokens(tmp_path / "hole.bin", 10**9)
    assert len(read(file, vocab_size=8)) == 10**9 and os.stat(file).st_blocks * 512 < 10**6
