import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from liandan.runs.layout import Layout, RunError, all_runs, find, new_run, safe_name


def begin(root: Path, recipe: str = "task: x\n") -> Layout:
    root.mkdir(parents=True, exist_ok=True)
    (root / "recipe.yaml").write_text(recipe)
    return Layout(root)


def test_all_paths_lie_inside_of_the_run_and_differ():
    layout = Layout(Path("runs/岩石/20250101-120000"))
    properties = [name for name, value in vars(Layout).items() if isinstance(value, property) and name != "name"]
    paths = [getattr(layout, name) for name in properties] + [layout.checkpoint(120), layout.evaluation("val"), layout.export("onnx")]
    assert len(set(paths)) == len(paths) == 20
    assert all(layout.root in path.parents for path in paths)
    assert layout.checkpoint(120).name == "step-00000120"
    assert layout.name == "岩石"
    assert Layout(Path("somewhere/exact")).name == "exact"


def test_a_split_or_format_cannot_leave_the_run():
    layout = Layout(Path("run"))
    assert layout.evaluation("../../etc").parent == Path("run/evaluation")
    with pytest.raises(RunError, match="at least one letter"):
        layout.export("..")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("岩石分类", "岩石分类"),
        ("a/b\\c", "a-b-c"),
        ("../../etc", "etc"),
        ("what?*", "what"),
        ("CON", "CON-run"),
        ("lpt1.txt", "lpt1.txt-run"),
        ("dots...", "dots"),
        ("tab\there", "tab-here"),
        ("花" * 100, "花" * 40),
    ],
)
def test_names_change_only_where_a_file_system_would_object(name: str, expected: str):
    assert safe_name(name) == expected


def test_new_run_stamps_below_the_name(tmp_path: Path):
    layout = new_run(tmp_path / "runs", "岩石/一")
    assert layout.root.is_dir()
    assert layout.root.parent == tmp_path / "runs" / "岩石-一"
    assert time.strptime(layout.root.name, "%Y%m%d-%H%M%S")


def test_processes_that_start_in_the_same_second_get_different_runs(tmp_path: Path):
    script = "import sys; from liandan.runs.layout import new_run\nfor _ in range(20): print(new_run(sys.argv[1], 'rocks').root.name)"
    children = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    names = [name for child in children for name in child.communicate()[0].split()]
    assert len(names) == 80
    assert len(set(names)) == 80
    assert any(name.count("-") == 2 for name in names)


def test_an_exact_directory_is_stamped_with_nothing_and_taken_once(tmp_path: Path):
    layout = new_run(tmp_path / "deep" / "here")
    assert layout.root == tmp_path / "deep" / "here"
    new_run(layout.root)  # nothing was begun yet
    begin(layout.root)
    with pytest.raises(RunError, match="--resume"):
        new_run(layout.root)
    with pytest.raises(RunError, match="is itself a run"):
        new_run(tmp_path / "deep", "here")


def test_a_place_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"):
        new_run(tmp_path / "file", "rocks")


def test_find_by_path_name_stamp_and_last(tmp_path: Path):
    old = begin(tmp_path / "rocks" / "20250101-120000")
    new = begin(tmp_path / "rocks" / "20250102-120000")
    exact = begin(tmp_path / "exact")
    (tmp_path / "rocks" / "20250103-120000").mkdir()  # made, never begun
    os.utime(exact.recipe, (0, 0))
    assert find(str(old.root), tmp_path) == old
    assert find("rocks", tmp_path) == new
    assert find("rocks/20250101-120000", tmp_path) == old
    assert find("exact", tmp_path).root == exact.root
    assert find("last", tmp_path) == new
    os.utime(exact.recipe)
    assert find("last", tmp_path).root == exact.root
    assert {layout.root for layout in all_runs(tmp_path)} == {old.root, new.root, exact.root}


def test_order_survives_a_copy_and_counts_runs_of_one_second(tmp_path: Path):
    names = ["20250101-120000", "20250101-120000-2", "20250101-120000-10", "20250101-120001"]
    for number, name in enumerate(reversed(names)):  # file times run backwards against the names, by days
        layout = begin(tmp_path / "rocks" / name)
        if name == names[-1]:
            os.utime(layout.recipe, (number, number))
        else:
            os.utime(layout.recipe, (1000, 1000))
    assert [layout.root.name for layout in all_runs(tmp_path)] == names[::-1]


def test_what_is_not_found_says_where_it_looked_and_what_is_near(tmp_path: Path):
    with pytest.raises(RunError, match="no run under|none under"):
        find("last", tmp_path)
    with pytest.raises(RunError, match="no runs there yet"):
        find("rocks", tmp_path / "nowhere")
    begin(tmp_path / "岩石分类" / "20250101-120000")
    begin(tmp_path / "digits" / "20250101-120000")
    with pytest.raises(RunError, match="nearest: 岩石分类") as error:
        find("岩石分", tmp_path)
    assert str(tmp_path) in str(error.value)
    with pytest.raises(RunError, match="it is not a run"):
        find(str(tmp_path / "digits" / ".."), tmp_path / "nowhere")
    with pytest.raises(RunError, match="digits"):
        find("digit", tmp_path)
