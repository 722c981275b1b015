"""YAML text -> values and places."""

import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liandan.recipe import Document, RecipeError, scalars
from liandan.recipe.document import MAX_DEPTH, MAX_VALUES
from liandan.recipe.read import MAX_BYTES, parse, read_file, read_text


def read(text: str) -> Document:
    return Document.of(read_text(text, "rocks.yaml"))


def one_fault(text: str):
    with pytest.raises(RecipeError) as caught:
        read_text(text, "rocks.yaml")
    assert len(caught.value.faults) == 1, str(caught.value)
    return caught.value.faults[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-3", -3),
        ("+12e03", 12e3),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("e5", "e5"),
        (".", "."),
        ("\uff11", "\uff11"),
        ("照片/石头", "照片/石头"),
        ("${oc.env:HOME}", "${oc.env:HOME}"),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(text, value):
    found = read(f"a: {text}").values["a"]
    assert found == value
    assert type(found) is type(value)


def test_quoted_scalars_are_text():
    assert read("a: '1'\nb: \"true\"\nc: |\n  12\nd: ''").values == {"a": "1", "b": "true", "c": "12\n", "d": ""}


def test_a_number_of_thousands_of_digits_stays_text():
    assert read("a: " + "9" * 5000).values == {"a": "9" * 5000}


def test_each_key_and_item_keeps_its_line():
    document = read("# comment\ndata:\n  train: x\n\n  steps:\n    - a\n    - {name: b,\n       size: 3}\nname: 石\n")
    assert document.lines == {
        "": "rocks.yaml",
        "data": "rocks.yaml:2",
        "data.train": "rocks.yaml:3",
        "data.steps": "rocks.yaml:5",
        "data.steps[0]": "rocks.yaml:6",
        "data.steps[1]": "rocks.yaml:7",
        "data.steps[1].name": "rocks.yaml:7",
        "data.steps[1].size": "rocks.yaml:8",
        "name": "rocks.yaml:9",
    }
    assert document.where("data.steps[1].padding.x") == "rocks.yaml:7"
    assert document.where("model.name") == "rocks.yaml"
    assert Document.of(document.node()) == document


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_byte_order_marks_and_line_ends(tmp_path, encoding, newline):
    path = tmp_path / "石头.yaml"
    path.write_bytes(newline.join(["task: 分类", "data:", "  train: 照片/"]).encode(encoding))
    document = Document.of(read_file(path, path.name))
    assert document.values == {"task": "分类", "data": {"train": "照片/"}}
    assert document.lines["data.train"] == "石头.yaml:3"


def test_text_that_is_not_utf_8_is_named_with_its_line(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes("task: a\nname: 炼丹".encode("gbk"))
    with pytest.raises(RecipeError, match=r"a\.yaml:2\n.*UTF-8\n.*0xc1\n.*GBK"):
        read_file(path, "a.yaml")


def test_a_repeated_key_names_both_lines():
    fault = one_fault("train:\n  lr: 1\n  x: 2\n  lr: 3\n")
    assert (fault.key, fault.where) == ("train.lr", "rocks.yaml:4")
    assert "rocks.yaml:2" in fault.received


def test_faults_of_the_text_are_found_together():
    with pytest.raises(RecipeError) as caught:
        read_text("a: 1\na: 2\nb: !!python/name:os.system x\n1: 2\n<<: {c: 1}", "r.yaml")
    assert [fault.where for fault in caught.value.faults] == ["r.yaml:2", "r.yaml:3", "r.yaml:4", "r.yaml:5"]


@pytest.mark.parametrize(
    ("text", "where", "part"),
    [
        ("a: 1\nb: [1, 2\n", "rocks.yaml:3", "got '<stream end>'"),
        ("a:\n\tb: 1", "rocks.yaml:2", "not with tabs"),
        ("a: b: c", "rocks.yaml:1", "needs quotes"),
        ("a: 1\n b: 2", "rocks.yaml:2", ""),
        ("a: 1\n--- \nb: 2", "rocks.yaml:2", "second document"),
        ("%YAML 1.1\n---\na: no", "rocks.yaml:2", "%YAML 1.1"),
        ("a: 1\nb: \x07", "rocks.yaml:2", "control character"),
        ("a: *x", "rocks.yaml:1", "*x"),
        ("a: &x [1, *x]", "rocks.yaml:1", "hold itself"),
        ("? [a]\n: 1", "rocks.yaml:1", "a list or a mapping"),
        ("? {a: 1}\n: 1", "rocks.yaml:1", "a list or a mapping"),
        ('a: "\\UFFFFFFFF"', "rocks.yaml", ""),
        ('a: "\\ud800"', "rocks.yaml:1", "UTF-8"),
        ("a: !!str 1", "rocks.yaml:1", "!!str"),
        ("a: ! 1", "rocks.yaml:1", "remove the tag"),
        ("!x {a: 1}", "rocks.yaml:1", "!x"),
        ("- a\n- b", "rocks.yaml:1", "a list of 2 values"),
        ("just text", "rocks.yaml:1", '"just text" (text)'),
        ("", "rocks.yaml", "empty"),
        ("# only a comment\n", "rocks.yaml", "empty"),
        ("k" * 200 + ": 1", "rocks.yaml:1", "at most 100"),
    ],
)
def test_what_is_no_recipe_is_said_with_its_line(text, where, part):
    fault = one_fault(text)
    assert fault.where == where
    assert part in str(fault)


def test_aliases_are_expanded_and_keep_the_line_of_what_they_name():
    document = read("a: &x {lr: 1e-4}\nb: *x\nc: [*x, 1]\n")
    assert document.values == {"a": {"lr": 1e-4}, "b": {"lr": 1e-4}, "c": [{"lr": 1e-4}, 1]}
    assert document.lines["b"] == "rocks.yaml:2"
    assert document.lines["b.lr"] == "rocks.yaml:1"


def test_limits_of_nesting_and_of_values_are_exact():
    deepest = MAX_DEPTH - 1  # the root is a level
    read("a: " + "[" * deepest + "]" * deepest)
    assert "nested" in one_fault("a: " + "[" * (deepest + 1) + "]" * (deepest + 1)).expected
    chain = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, MAX_DEPTH + 1))
    assert "nested" in one_fault(chain).expected
    read("a: [" + "1," * (MAX_VALUES - 2) + "]")
    assert "values" in one_fault("a: [" + "1," * (MAX_VALUES - 1) + "]").expected


@pytest.mark.parametrize("name", ["a.py", "folder", "folder.yaml", "passwd", "missing.yaml", "pipe.yaml", "big.yaml"])
def test_what_is_not_a_recipe_file_is_refused_before_it_is_read(tmp_path, name):
    (tmp_path / "a.py").write_text("open('canary', 'w')")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "passwd").write_text("root:x:0:0")
    (tmp_path / "big.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(RecipeError) as caught:
        read_file(tmp_path / name, name)
    assert "root:x" not in str(caught.value)
    assert {
        "a.py": "ends in .py",
        "folder": "a folder",
        "folder.yaml": "a folder",
        "passwd": "without an ending",
        "missing.yaml": "no file at",
        "pipe.yaml": "not a regular file",
        "big.yaml": "kB",
    }[name] in caught.value.faults[0].received


def test_a_file_of_exactly_the_limit_is_read(tmp_path):
    path = Path(tmp_path, "a.yaml")
    path.write_bytes(b"a: 1\n" + b"#" * (MAX_BYTES - 5))
    assert Document.of(read_file(path, "a.yaml")).values == {"a": 1}


@given(st.text() | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none())
def test_what_is_written_is_read_back(value):
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        return
    if isinstance(value, int) and len(str(value)) > scalars.MAX_NUMBER:
        return
    for text in (f"a: {scalars.write(value)}\n", f"{{a: {scalars.write(value)}, b: [{scalars.write(value)}]}}"):
        found = read(text).values["a"]
        assert found == value
        assert type(found) is type(value)


@given(st.text(alphabet=st.sampled_from(list("ab:-?[]{},&*!|>'\"%@`#\\\n\t 0.~<=é石\r\x85\ufeff")), max_size=60))
def test_any_text_is_a_value_or_a_recipe_error(text):
    try:
        parse(text, "x")
    except RecipeError as error:
        assert error.faults


@given(st.text(max_size=60))
def test_any_characters_are_a_value_or_a_recipe_error(text):
    try:
        parse("a: " + text, "x")
    except RecipeError as error:
        assert str(error).isprintable() or "\n" in str(error)
