"""The tables: complete, in both languages, with a source for everything, and right at their edges."""

from __future__ import annotations

import string
import tomllib
from pathlib import Path

import pytest

from liandan.doctor import __main__ as start
from liandan.doctor import rules
from liandan.doctor.judge import cudnn_version, floor, gpus, judge, numbers, runs_on
from liandan.doctor.words import SECTION_TITLES, TEXT

ROOT = Path(__file__).parents[3]


def test_every_finding_has_a_section_a_level_a_source_and_words_in_both_languages():
    assert set(TEXT) == set(rules.RULES)
    for name, (section, level, source) in rules.RULES.items():
        assert section in SECTION_TITLES and level in ("ok", "info", "warn", "fail") and source in rules.SOURCES, name
        english, chinese = TEXT[name]["en"], TEXT[name]["zh"]
        assert len(english) == len(chinese) == 3, name
        assert fields(*english) == fields(*chinese), name
        assert [bool(text) for text in english] == [bool(text) for text in chinese], name
        assert english[0] and (level in ("ok", "info") or english[2]), f"{name}: what to do?"
    assert {source for _, _, source in rules.RULES.values()} <= set(rules.SOURCES)


def fields(*texts: str) -> set[str]:
    return {field for text in texts for _, field, _, _ in string.Formatter().parse(text) if field}


def test_chinese_findings_are_chinese():
    spoken = [text for name in TEXT for text in TEXT[name]["zh"][:2] if text]
    plain = [text for text in spoken if not any("\u4e00" <= c <= "\u9fff" for c in text)]
    names = {"Python {version}", "torch {version}", "XPU：{names}", "OpenVINO：{devices}", "{extra}：{packages}"}
    assert set(plain) <= {*names, "{device} {what} {dtype}：{gflops}"}


def test_the_python_that_is_asked_for_is_the_project_s():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={rules.PYTHON_FLOOR}"
    assert numbers(rules.PYTHON_FLOOR) == start.NEEDED


@pytest.mark.parametrize("platform", ["linux", "windows"])
def test_drivers_rise_with_cuda_and_no_toolkit_is_below_its_floor(platform: str):
    """NVIDIA's two tables agree with each other: what a toolkit came with runs it."""
    rows = [(numbers(cuda), drivers[platform]) for cuda, drivers in rules.TOOLKIT_DRIVERS.items() if drivers[platform]]
    assert rows == sorted(rows, key=lambda row: row[0], reverse=True)
    drivers = [numbers(driver) for _, driver in rows]
    assert drivers == sorted(drivers, reverse=True)
    for cuda, driver in rows:
        lowest = floor(".".join(map(str, cuda)), platform)
        assert lowest is not None and numbers(lowest) <= numbers(driver)


def test_a_wheel_that_install_names_is_one_whose_architectures_are_listed():
    listed = {(cuda, archs) for _, _, cuda, archs in rules.WHEEL_ARCHS}
    assert all((wheel["cuda"], wheel["archs"]) in listed for wheel in rules.WHEELS)


@pytest.mark.parametrize(
    ("card", "archs", "how"),
    [
        ("8.9", "8.0 8.6 9.0", "binary"), ("8.6", "8.0", "binary"), ("8.0", "8.6", None), ("9.0", "8.0 8.6", None),
        ("12.1", "12.0", "binary"), ("12.0", "9.0+PTX", "ptx"), ("8.7", "8.6", None), ("8.7", "8.6+PTX", "ptx"),
        ("8.7", "8.7", "binary"), ("6.1", "6.0 7.0", "binary"),
    ],
)  # fmt: skip
def test_machine_code_runs_within_its_major_number_and_ptx_on_all_that_is_later(card: str, archs: str, how: str | None):
    assert runs_on(card, archs.split()) == how


# Names as nvidia-smi writes them, capabilities as NVIDIA's page lists them.
@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA GeForce RTX 5090", "12.0"), ("NVIDIA B200", "10.0"), ("NVIDIA H100 80GB HBM3", "9.0"), ("NVIDIA H200", "9.0"),
        ("NVIDIA H20", "9.0"),
        ("NVIDIA GH200 480GB", "9.0"), ("NVIDIA GeForce RTX 4060 Ti", "8.9"), ("NVIDIA L4", "8.9"), ("NVIDIA L40S", "8.9"),
        ("NVIDIA RTX 4000 Ada Generation", "8.9"), ("NVIDIA A100-SXM4-80GB", "8.0"), ("NVIDIA A30", "8.0"), ("NVIDIA A10G", "8.6"),
        ("NVIDIA A40", "8.6"), ("NVIDIA RTX A6000", "8.6"), ("NVIDIA GeForce RTX 3050 Laptop GPU", "8.6"), ("Tesla T4", "7.5"),
        ("GeForce GTX 1660 Ti", "7.5"), ("Quadro RTX 6000", "7.5"), ("Tesla V100-SXM2-32GB", "7.0"), ("NVIDIA TITAN V", "7.0"),
        ("Tesla P100-PCIE-16GB", "6.0"), ("NVIDIA GeForce GTX 1080 Ti", "6.1"), ("TITAN Xp", "6.1"), ("Tesla P40", "6.1"),
        ("GeForce GTX TITAN X", "5.2"), ("Tesla M40", "5.2"), ("Tesla K80", "3.7"), ("a card to come", None),
    ],
)  # fmt: skip
def test_cards_are_known_by_name(name: str, capability: str | None):
    assert gpus({"nvidia": {"gpus": [{"name": name}]}}) == [(name, capability)]


def test_both_ways_to_write_cudnn_s_number():
    assert [cudnn_version(n) for n in (8907, 8600, 90100, 91002, 92000)] == ["8.9.7", "8.6.0", "9.1.0", "9.10.2", "9.20.0"]


def test_nothing_is_judged_that_nobody_looked_at():
    assert judge({}) == []
