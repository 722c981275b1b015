"""What a person and a program see: on a bare Python, on one that is too old, in both languages, in any width."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from liandan.doctor import __main__ as start
from liandan.doctor import show
from liandan.doctor.install import plan
from liandan.doctor.judge import judge
from tests.zygote import ROOT, Zygote

FILE = ROOT / "liandan/doctor/__main__.py"
BARE = [sys.executable, "-I", "-S", str(FILE)]  # no installed package is in sight, and no folder but the file's own
QUIET = {**{k: v for k, v in os.environ.items() if k not in ("LC_ALL", "LC_MESSAGES", "LANG")}, "HF_HUB_OFFLINE": "1"}


def bare(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*BARE, *words], capture_output=True, text=True, check=False, env={**QUIET, **environment}, encoding="utf-8")


def test_it_runs_before_anything_is_installed(tmp_path: Path):
    run = bare("--json")
    assert run.stderr == "" and run.returncode in (0, 1), run.stderr
    report = json.loads(run.stdout)
    assert report["facts"]["packages"]["versions"] == {} and "torch" not in report["facts"]
    found = {row["id"]: row for row in report["findings"]}
    assert {"torch-absent", "extra-absent", "cpu"} <= set(found)
    assert set(found["torch-absent"]) == {"id", "section", "level", "what", "why", "do", "source"}
    assert report["verdict"] in ("ok", "warn", "fail") and run.returncode == (report["verdict"] == "fail")


@pytest.mark.skipif(os.name != "posix", reason="nvidia-smi is a shell script here")
def test_the_exit_code_tells_a_failure(tmp_path: Path):
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n", encoding="utf-8")
    smi.chmod(0o755)
    run = bare(PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}", LC_ALL="C.UTF-8")
    assert run.returncode == 1 and "FAIL" in run.stdout and run.stdout.splitlines()[-1].startswith("Not ready"), run.stdout


def test_it_runs_from_anywhere_and_by_its_name(tmp_path: Path):
    words = ["--install", "--json"]
    by_path = subprocess.run([sys.executable, str(FILE), *words], capture_output=True, text=True, env=QUIET, cwd=tmp_path)
    by_name = subprocess.run([sys.executable, "-m", "liandan.doctor", *words], capture_output=True, text=True, env=QUIET, cwd=ROOT)
    assert json.loads(by_path.stdout) == json.loads(by_name.stdout)


def test_it_speaks_the_language_of_the_locale():
    english, chinese = bare(LC_ALL="C.UTF-8"), bare(LC_ALL="zh_CN.UTF-8")
    assert "Processor" in english.stdout and "处理器" in chinese.stdout and "处理器" not in english.stdout
    assert "\033[" not in english.stdout  # nobody watches


@pytest.mark.parametrize(
    ("environment", "tongue"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"), ({"LANG": "zh_TW"}, "zh"), ({"LANG": "en_US.UTF-8"}, "en"), ({"LANG": "C"}, "en"),
        ({"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"), ({"LC_MESSAGES": "zh_CN", "LANG": "en_US"}, "zh"),
        ({"LC_ALL": "", "LANG": "zh_CN"}, "zh"),
    ],
)  # fmt: skip
def test_which_variable_of_the_locale_counts(environment: dict[str, str], tongue: str):
    assert show.language(environment) == tongue


def test_the_commands_are_told_and_not_run():
    run = bare("--install", LC_ALL="C.UTF-8")
    lines = [line for line in run.stdout.splitlines() if not line.startswith("#")]
    assert run.returncode == 0 and lines[-1].endswith(f'-m pip install -e "{ROOT}[all]"') and "pip install torch" in lines[-2]
    planned = json.loads(bare("--install", "--json").stdout)
    assert planned["commands"] == lines and planned["why"]


def test_an_old_python_is_told_which_one_it_takes():
    text = start.too_old((3, 8, 10), [])
    assert "3.11" in text and "3.8.10" in text and sys.executable in text
    report = json.loads(start.too_old((3, 8, 10), ["--json"]))
    assert report["verdict"] == "fail" and report["findings"][0]["level"] == "fail"


def test_an_old_python_can_read_the_file_that_tells_it():
    """Syntax alone would keep it from saying anything."""
    ast.parse(FILE.read_text(encoding="utf-8"), feature_version=(3, 6))
    imports = [node for node in ast.parse(FILE.read_text(encoding="utf-8")).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [alias.name for node in imports for alias in node.names] == ["sys"]


def test_a_word_it_does_not_know_is_refused():
    assert bare("--jason").returncode == 2


def test_liandan_doctor_is_the_same(zygote: Zygote, tmp_path: Path):
    child = zygote.run("doctor", "--install", "--json", cwd=tmp_path)
    assert child.wait() == 0, child.text()
    assert json.loads(child.text())["commands"]


# ---- lines ----

FINDINGS = judge(
    {
        "system": {"system": "linux"},
        "python": {"version": "3.12.3", "bits": 32},
        "nvidia": {"driver": "535.129.03", "cuda": "12.2", "gpus": [{"name": "NVIDIA H800"}]},
        "packages": {"versions": {"torch": "2.6.0+cu124"}, "frameworks": [{"name": "torch", "version": "2.6.0+cu124", "cuda": "12.4"}]},
    }
)


@pytest.mark.parametrize("tongue", ["en", "zh"])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_terminal_and_lose_nothing(tongue: str, width: int):
    facts = json.loads((Path(__file__).parent / "machines/constructed-container.json").read_text(encoding="utf-8"))["facts"]
    findings = judge(facts, tongue)
    out = show.lines(findings, tongue, width=width)
    long = [line for line in out if show.columns(line) > width]
    assert all(" " not in line.strip() or "://" in line for line in long), long  # only what cannot be broken is longer
    shown = re.sub(r"\s", "", "".join(out))
    for row in findings:
        assert re.sub(r"\s", "", row["what"]) in shown and re.sub(r"\s", "", row["do"]) in shown


def test_the_verdict_is_the_last_line_and_counts():
    out = show.lines(FINDINGS)
    assert out[-1] == "Not ready: 1 to mend (FAIL), 1 to look at (WARN)."
    assert show.lines(judge({"python": {"version": "3.12.3"}}))[-1].startswith("Ready:")
    assert "--install" in show.lines(judge({"packages": {"versions": {}}}))[-1]


def test_colors_are_for_who_watches():
    plain, colored = show.lines(FINDINGS), show.lines(FINDINGS, color=True)
    assert [re.sub(r"\033\[[\d;]*m", "", line) for line in colored] == plain
    assert any("\033[31m" in line for line in colored)


def test_chinese_breaks_between_characters_and_never_before_a_stop():
    out = show.wrap("中文很长，没有空格。PyTorch 是一个词。", 12)
    assert "".join(out).replace(" ", "") == "中文很长，没有空格。PyTorch是一个词。"
    assert all(show.columns(line) <= 14 for line in out) and not any(line[0] in "，。" for line in out)


@pytest.mark.parametrize("tongue", ["en", "zh"])
def test_a_new_machine_is_given_its_wheel(tongue: str):
    """The newest build for a new card; a virtual environment where the system keeps its Python to itself."""
    facts = {
        "system": {"system": "linux"}, "python": {"managed": True, "environment": False}, "packages": {"checkout": None},
        "nvidia": {"driver": "580.95.05", "gpus": [{"name": "NVIDIA GeForce RTX 5090"}]},
    }  # fmt: skip
    found = plan(facts, tongue)
    assert found["commands"] == [
        "python3 -m venv .venv && . .venv/bin/activate",
        "python -m pip install torch torchvision --index-url https://download.pytorch.org/whl/cu130",
        'python -m pip install "liandan[all]"',
    ]
    assert "cu130" in found["why"][0] and "RTX 5090" in found["why"][0]
