"""Python configs are read, and never run."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from liandan.recipe import RecipeError
from liandan.recipe.python_config import NAMES, parse_python_config, plain, read_python_config

CONFIG = Path(__file__).with_name("configs") / "efficientnet_b4.py"
REST = "".join(f"{name} = 1\n" for name in NAMES)


def values(text: str) -> dict[str, Any]:
    return {name: plain(node) for name, node in parse_python_config(text + "\n" + REST, "c.py").items() if name not in NAMES}


def report(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        parse_python_config(text + "\n" + REST, "c.py")
    return str(caught.value)


def listed(value: Any) -> Any:
    """Python's own value with tuples and sets as lists, as the reader has them."""
    if isinstance(value, dict):
        return {name: listed(child) for name, child in value.items()}
    return [listed(child) for child in value] if isinstance(value, list | tuple | set) else value


def test_the_config_says_what_python_says_it_does():
    """Python itself is the oracle; running this one is safe, it is ours."""
    expected = runpy.run_path(str(CONFIG))
    found = read_python_config(CONFIG)
    for name in (*NAMES, "img_norm_cfg"):
        assert plain(found[name]) == listed(expected[name]), name
    assert plain(found["optimizer_cfg"])["lr"] == 0.1 * 4 / 256


def test_every_value_remembers_its_line():
    found = read_python_config(CONFIG)
    lines = CONFIG.read_text(encoding="utf-8").splitlines()

    def line(node: Any) -> str:
        file, _, number = node.where.rpartition(":")
        assert file == "efficientnet_b4.py"
        return lines[int(number) - 1]

    def at(node: Any, *keys: Any) -> Any:
        for key in keys:
            node = node.value[key]
        return node

    assert "num_classes=11" in line(at(found["model_cfg"], "head", "num_classes"))
    assert "pretrained_weights" in line(at(found["data_cfg"], "train", "pretrained_weights"))
    assert "mean=[123.675" in line(at(found["train_pipeline"], 3, "mean")), "what ** brings stands where it was written"


@pytest.mark.parametrize(
    "expression",
    [
        "[1, (2, 3), {'a': None, 'b': [True, 1e-4, -2, +3]}]",
        "dict(a=1, **dict(b=2))",
        "{**dict(a=1, b=2), 'a': 3}",
        "dict({'a': 1}, b=2)",
        "[*[1, 2], 3, *(4, 5)]",
        "0.1 * 4 / 256 + 2 ** -3 - 7 // 2 % 3",
        "2 ** 0.5",
        "[1, 2] + [3] * 2",
        "'C:' + '/x'",
        "[1, 2, 3][::-1] + [4, 5, 6][1:]",
        "dict(a=[1, 2])['a'][-1]",
        "[round(x) for x in [123.675, 116.28, 103.53][::-1]]",
        "[round(0.48145466 * 255, 3), round(7)]",
        "'中文 路径'",
        "r'C:\\Users\\new'",
    ],
)
def test_plain_expressions_have_pythons_values(expression: str):
    assert values(f"x = {expression}") == {"x": listed(eval(expression))}


def test_names_docstrings_annotations_and_comments():
    text = '"""words"""\na = 1  # 注释\nb: int = a + 1\nc = d = [a, b]\na = 5\n'
    assert values(text) == {"a": 5, "b": 2, "c": [1, 2], "d": [1, 2]}


@pytest.mark.parametrize(
    ("text", "line", "received"),
    [
        ("import os", 1, "an import"),
        ("from os import system", 1, "an import"),
        ("x = 1\ny = __import__('os').system('touch pwned')", 2, "a call of __import__('os').system"),
        ("x = open('pwned', 'w')", 1, "a call of open"),
        ("x = eval('1')", 1, "a call of eval"),
        ("x = (lambda: 1)()", 1, "a call of lambda"),
        ("x = ().__class__", 1, "an attribute"),
        ("x = [y for y in range(9)]", 1, "a call of range"),
        ("x = [y for y in [1] if y]", 1, "[y for y in [1] if y]"),
        ("x = {y: 1 for y in [1]}", 1, "DictComp"),
        ("x = f'{1}'", 1, "an f-string"),
        ("x = 1 if 2 else 3", 1, "a condition"),
        ("for x in [1]:\n    pass", 1, "a loop"),
        ("while True: pass", 1, "a loop"),
        ("def f(): pass", 1, "a function"),
        ("class A: pass", 1, "a class"),
        ("x = []\nx += [1]", 2, "a change of a value in place"),
        ("x = dict(a=1)\nx['a'] = 2", 2, "x['a'] = ..."),
        ("x = [1]\nx.append(2)", 2, "Expr"),
        ("dict = 1", 1, "dict"),
        ("x = b'1'", 1, "a value of type bytes"),
        ("x = 1j", 1, "a value of type complex"),
        ("x = ...", 1, "a value of type ellipsis"),
        ("x = {1: 2}", 1, "1"),
        ("x = dict(**dict(a=1), a=2)", 1, "a again"),
        ("x = {'a': 1, 'a': 2}", 1, "a again"),
        ("x = y", 1, "y"),
        ("x = 1 / 0", 1, "1 / 0: division by zero"),
        ("x = (-8) ** 0.5", 1, "(-8) ** 0.5"),
        ("x = True + 1", 1, "True + 1"),
        ("x = '%s' % 1", 1, "'%s' % 1"),
        ("x = '\\ud800'", 1, '"\\ud800" (text)'),
        ("x = [1][3]", 1, "[1][3]"),
        ("x = *[1], **{}", 1, ""),
        ("x = 'C:\\Users\\me'", 1, "(unicode error)"),
    ],
)
def test_everything_else_is_refused_with_its_line(text: str, line: int, received: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    said = report(text)
    assert said.startswith(f"c.py:{line}\n") and received in said, said
    assert not list(tmp_path.iterdir()) and not set(sys.modules) - before, "something ran"


def test_all_faults_are_told_and_what_follows_from_one_is_not():
    said = report("import os\nimg_norm_cfg = dict(mean=os.x)\nx = dict(**img_norm_cfg)\nz = imgnorm\n")
    assert [row for row in said.splitlines() if row.startswith("c.py")] == ["c.py:1", "c.py:2", "c.py:4"]


def test_what_is_missing_is_named_with_what_was_probably_meant():
    with pytest.raises(RecipeError) as caught:
        parse_python_config(REST.replace("model_cfg", "model"), "c.py")
    assert str(caught.value) == 'c.py  model_cfg\n    expected  model_cfg = ...\n    received  nothing\n    hint      did you mean "model"?'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 9 ** 9 ** 9", "an exponent of at most"),
        ("x = 2 ** 999", "numbers up to"),
        ("x = 10 ** 18 * 10 ** 18", "numbers up to"),
        ("x = (10 ** 18) ** 1000", "arithmetic that has a result"),
        ("x = round(5, -10 ** 17)", "at most 20 digits"),
        ("x = [0] * 10\n" + "x = [x] * 10\n" * 40 + "y = dict(**x)", "a dict after **"),
        ("x = unknown\n" * 6_000 + "".join(f"unknow{i} = 1\n" for i in range(3_000)), "a name assigned above"),
        ("x = 1\n" * 15_000 + "f()\n" * 5_000, "assignments of plain values"),
        ("x = [1] * 10 ** 9", "a list of at most"),
        ("x = 'a' * 10 ** 9", "arithmetic"),
        ("x = 'a'\n" + "x = x + x\n" * 40, "text of at most"),
        ("x = [1]\n" + "x = x + x\n" * 40, "a list of at most"),
        ("x = [1] * 4000\n" + "y = [*x, *x]\n", "a list of at most"),
        ("x = [1] * 4000\n" + "".join(f"y{i} = x * 1\n" for i in range(200)), "multiplies them without end"),
        ("x = [1] * 4000\ny = [[round(a * b) for a in x] for b in x]", "multiplies them without end"),
        ("x = " + "[" * 150 + "]" * 150, "nested at most 50 deep"),
        ("x = " + "[" * 250 + "]" * 250, "Python"),
        ("x = " + "-" * 100_000 + "1", "nested at most 50 deep"),
        ("x = " + "+".join(["1"] * 40_000), "nested at most 50 deep"),
        ("x = 1" + "0" * 5000, "Python"),
        ("x = '\0'", "Python"),
    ],
)
def test_no_text_makes_the_reader_slow_or_large(text: str, expected: str):
    assert expected in report(text)


def test_names_that_hold_one_another_are_counted_written_out():
    bomb = "a = [0] * 10\n" + "".join(f"a = [{', '.join(['a'] * 10)}]\n" for _ in range(40))
    with pytest.raises(RecipeError, match="at most 5000 values"):
        parse_python_config(bomb + REST.replace("data_cfg = 1", "data_cfg = a"), "c.py")


def test_a_file_that_is_no_utf8_text_or_too_long(tmp_path: Path):
    path = tmp_path / "配置.py"
    path.write_bytes("x = '花岗岩'".encode("gbk"))
    with pytest.raises(RecipeError, match="save the file as UTF-8"):
        read_python_config(path)
    path.write_text("#" * 200_000, encoding="utf-8")
    with pytest.raises(RecipeError, match="at most 128 kB"):
        read_python_config(path)
    path.write_text(REST, encoding="utf-8-sig")
    assert plain(read_python_config(path)["data_cfg"]) == 1


@pytest.mark.parametrize("line", [1, 5, 25, 60])
def test_a_broken_config_names_the_line(line: int):
    lines = CONFIG.read_text(encoding="utf-8").splitlines()
    lines.insert(line, "x = = 1")
    with pytest.raises(RecipeError) as caught:
        parse_python_config("\n".join(lines), "c.py")
    assert caught.value.faults[0].where.startswith("c.py:") and caught.value.faults[0].expected == "Python"
