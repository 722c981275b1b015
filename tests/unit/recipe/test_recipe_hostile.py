"""Recipes that mean harm: nothing runs, the answer comes at once, in little memory, and says where."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS, MEGABYTES = 1.0, 200

# What measures runs in a process of its own, so that its peak of memory is that of the recipe alone.
PROBE = """
import json, pathlib, re, resource, sys, time
from liandan.recipe import RecipeError, load_recipe
import ruamel.yaml
start = time.process_time()
try:
    recipe = load_recipe(sys.argv[1])
    answer = {"values": recipe.values()}
except RecipeError as error:
    answer = {"text": str(error), "where": error.faults[0].where}
answer["seconds"] = time.process_time() - start
# Not ru_maxrss where it can be helped: Linux lets a process inherit the peak of the one that started it.
status = pathlib.Path("/proc/self/status")
if status.exists():
    answer["megabytes"] = int(re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text())[1]) / 2**10
else:
    answer["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
answer["torch"] = "torch" in sys.modules
print(json.dumps(answer))
"""

HEAD = "task: t\ndata: {train: x}\n"
M = 125_000  # characters: as much as a recipe may have


def load(tmp_path: Path, text: str) -> dict:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "CANARY": str(tmp_path / "canary")}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(path)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not done.stderr
    answer = json.loads(done.stdout)
    assert answer["seconds"] < SECONDS and answer["megabytes"] < MEGABYTES, answer
    assert not answer["torch"]
    assert not (tmp_path / "canary").exists()
    return answer


INJECTIONS = {
    "object": ('model: !!python/object/apply:os.system ["touch canary"]', "r.yaml:3", "!!python/object/apply:os.system"),
    "new": ("model: !!python/object/new:subprocess.Popen [[touch, canary]]", "r.yaml:3", "remove the tag"),
    "name": ("model: {name: !!python/name:os.system }", "r.yaml:3", "!!python/name:os.system"),
    "module": ("model:\n  name: x\n  a: !!python/module:antigravity ''", "r.yaml:5", "!!python/module"),
    "local": ("model: !Canary {name: x}", "r.yaml:3", "!Canary"),
    "key": ("model: {name: x}\n!!python/name:os.system seed: 3", "r.yaml:4", "!!python/name:os.system"),
    "target": ("model: {name: x, _target_: os.system, command: touch canary}", "r.yaml:3", "nothing in a recipe is run or imported"),
    "top target": ("_target_: os.system\nmodel: {name: x}", "r.yaml:3", "one of: version, task"),
    "section target": ("model: {name: x}\ntrain: {_target_: os.system}", "r.yaml:4", "one of: duration"),
    "dotted": ("model: {name: x}\nlogging.os.system: touch canary", "r.yaml:4", "one of: version, task"),
    "typo": ("model: {name: x}\noptimiser: {name: sgd}", "r.yaml:4", 'did you mean "optimizer"?'),
    "path": ("base: ../../../../../../../../etc/passwd\nmodel: {name: x}", "r.yaml:3", "without an ending"),
    "device": ("base: /dev/zero\nmodel: {name: x}", "r.yaml:3", "without an ending"),
}


@pytest.mark.parametrize("name", INJECTIONS)
def test_what_would_run_something_is_a_fault_with_its_line(tmp_path, name):
    text, where, part = INJECTIONS[name]
    answer = load(tmp_path, HEAD + text + "\n")
    assert answer["where"] == where
    assert part in answer["text"]
    assert "root:x" not in answer["text"]


def test_interpolation_has_no_meaning(tmp_path):
    text = """model:
  name: ${oc.env:HOME}
  a: '${eval:__import__("os").system("touch canary")}'
  b: '{{ 7*7 }}'
  c: $HOME
  d: logging.os.system"""
    model = load(tmp_path, HEAD + text)["values"]["model"]
    assert model["name"] == "${oc.env:HOME}"
    assert model["a"] == '${eval:__import__("os").system("touch canary")}'
    assert (model["b"], model["c"], model["d"]) == ("{{ 7*7 }}", "$HOME", "logging.os.system")


LAUGHS = "a0: &a0 [lol]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
BOMBS = {
    "billion laughs": (LAUGHS, "at most 5000 values"),
    "laughs in mappings": (
        "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}\n" for i in range(1, 40)),
        "at most 5000 values",
    ),
    "brackets": ("a: " + "[" * M, "at most 50 deep"),
    "braces": ("a: " + "{a: " * (M // 4), "at most 50 deep"),
    "dashes": ("- " * (M // 2), "at most 50 deep"),
    "questions": ("? " * (M // 2), ""),
    "indentation": ("".join(" " * i + "a:\n" for i in range(400)), "at most 50 deep"),
    "a chain of aliases": ("a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 1000)), "at most 50 deep"),
    "many keys": ("".join(f"k{i}: {i}\n" for i in range(5_100)), "at most 5000 values"),
    "as many keys as may be": (HEAD + "model: {name: x}\n" + "".join(f"k{i}: {i}\n" for i in range(4_900)), "more"),
    "one repeated key": ("a: 1\n" * 4_500, "each key once"),
    "a tag": ("a: " + "!" * M, "remove the tag"),
    "a percent tag": ("a: !%" + "41" * (M // 2), "tag"),
    "directives": ("%A b\n" * (M // 5), ""),
    "an anchor": ("a: &" + "a" * M, ""),
    "a key": ('"' + "a" * M + '": 1', ""),
    "keys that resemble": (HEAD + "model: {name: x}\n" + "".join(f"{'batch_size' * 9}{i}: 1\n" for i in range(1_000)), "more"),
    "a number": (HEAD + "model: {name: x}\nseed: " + "9" * M, "a whole number of 0 or more"),
    "a hexadecimal number": (HEAD + "model: {name: x}\nseed: 0x" + "f" * M, "a whole number of 0 or more"),
    "words": (HEAD + "model: {name: x}\nseed: " + "x y " * (M // 4), "a whole number of 0 or more"),
    "lines": (HEAD + "model: {name: x}\nseed: |\n" + "  x\n" * (M // 4), "a whole number of 0 or more"),
    "documents": ("---\n" * (M // 4), "one document"),
    "a million levels": ("[" * 1_000_000, "at most 128 kB"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_answered_at_once(tmp_path, name):
    text, part = BOMBS[name]
    answer = load(tmp_path, text)
    assert part in answer["text"]
    assert answer["where"].startswith("r.yaml")


def test_a_million_levels_are_answered_even_when_they_come_as_text():
    from liandan.recipe import RecipeError
    from liandan.recipe.read import parse

    with pytest.raises(RecipeError, match="at most 50 deep"):
        parse("[" * 1_000_000, "x")


def test_importing_the_room_is_light():
    code = "import sys, liandan.recipe; print(sorted({'torch', 'numpy', 'ruamel.yaml', 'rich'} & set(sys.modules)))"
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
