"""Judgment on recorded machines: public reports, with what their facts must and must not lead to, and constructed ones.

Every rule that a machine here depends on is broken on purpose below, and a machine must then be judged wrongly.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from liandan.doctor import judge, rules
from liandan.doctor.install import plan

MACHINES = sorted((Path(__file__).parent / "machines").glob("*.json"))


def load(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def wrong(machine: dict[str, Any]) -> list[str]:
    """What the judgment gets wrong on a machine."""
    findings = judge.judge(machine["facts"])
    found, expect = {row["id"] for row in findings}, machine["expect"]
    faults = [f"{name} is missing" for name in expect["present"] if name not in found]
    faults += [f"{name} should not be there" for name in expect.get("absent", []) if name in found]
    if "verdict" in expect and judge.verdict(findings) != expect["verdict"]:
        faults.append(f"the verdict is {judge.verdict(findings)}, not {expect['verdict']}")
    commands = "\n".join(plan(machine["facts"])["commands"])
    if expect.get("install", "") not in commands:
        faults.append(f"{expect['install']} is not in {commands}")
    return faults


@pytest.mark.parametrize("file", MACHINES, ids=lambda file: file.stem)
def test_a_machine_is_judged_as_it_was_found(file: Path):
    assert wrong(load(file)) == []


def test_machines_name_their_origin_and_the_docs_count_both():
    origins = [load(file)["origin"] for file in MACHINES]
    constructed = sum(origin == "constructed" for origin in origins)
    reported = [origin for origin in origins if origin != "constructed"]
    assert len(set(reported)) == len(reported) >= 10
    assert all(re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+", origin) for origin in reported)
    docs = Path(__file__).parents[3] / "docs"
    assert f"{len(reported)} public reports and {constructed} constructed" in (docs / "doctor.md").read_text(encoding="utf-8")
    assert f"{len(reported)} 份公开报告和 {constructed} 台构造" in (docs / "doctor.zh-CN.md").read_text(encoding="utf-8")


def test_every_finding_occurs_on_some_machine():
    """A rule that no machine meets would be a rule that nobody tested."""
    met = {row["id"] for file in MACHINES for row in judge.judge(load(file)["facts"])}
    assert set(rules.RULES) - met == set()


def swapped_floors(patch: pytest.MonkeyPatch) -> None:
    full = {int(cuda.split(".")[0]): drivers for cuda, drivers in reversed(rules.TOOLKIT_DRIVERS.items())}
    floors = {cuda: rules.FLOORS.get(int(cuda.split(".")[0]), drivers) for cuda, drivers in rules.TOOLKIT_DRIVERS.items()}
    patch.setattr(rules, "FLOORS", {major: full[major] for major in rules.FLOORS} | {12: rules.TOOLKIT_DRIVERS["12.9"]})
    patch.setattr(rules, "TOOLKIT_DRIVERS", floors)


def levels(*pairs: tuple[str, str]):
    def break_it(patch: pytest.MonkeyPatch) -> None:
        for name, level in pairs:
            section, _, source = rules.RULES[name]
            patch.setitem(rules.RULES, name, (section, level, source))

    return break_it


def setting(name: str, value: Any):
    return lambda patch: patch.setattr(rules, name, value)


def replacing(name: str, value: Any):
    return lambda patch: patch.setattr(judge, name, value)


MUTANTS = {
    "floor and full-feature driver swapped": swapped_floors,
    "below the floor is a warning": levels(("driver-below-floor", "warn")),
    "below the full-feature driver is a failure": levels(("driver-limited", "fail")),
    "nvidia-smi's CUDA is taken for the upper bound": lambda patch: patch.setattr(rules, "FLOORS", {}),
    "no floors before CUDA 11": lambda patch: [patch.delitem(rules.TOOLKIT_DRIVERS, cuda) for cuda in ("10.0", "10.1", "10.2")],
    "Windows has Linux's floors": replacing("numbering", lambda facts: "linux"),
    "WSL has Linux's floors": replacing("numbering", lambda facts: "windows" if facts["system"]["system"] == "windows" else "linux"),
    "versions are compared as text": replacing("numbers", lambda version: tuple(version.split("."))),
    "only the first number counts": replacing("numbers", lambda version: tuple(int(n) for n in re.findall(r"\d+", version)[:1])),
    "code runs on its own architecture alone": replacing("runs_on", lambda card, archs: "binary" if card in archs else None),
    "code runs on every later architecture": replacing(
        "runs_on", lambda card, archs: "binary" if any(judge.numbers(a) <= judge.numbers(card) for a in archs) else None
    ),
    "integrated chips are as compatible as the others": setting("NOT_BINARY_COMPATIBLE", set()),
    "the wheels' architectures are unknown": setting("WHEEL_ARCHS", []),
    "a torchvision too new by one": lambda patch: patch.setattr(
        rules, "PAIRS", dict(zip(rules.PAIRS, ["0.30", *list(rules.PAIRS.values())[:-1]], strict=True))
    ),
    "MPS from macOS 13 on": setting("MACOS_FLOOR_MPS", "13.0"),
    "cards are not known by their names": setting("CAPABILITIES", []),
    "old drivers get the newest wheel": lambda patch: patch.setitem(rules.WHEELS[0], "cuda", "11.8"),
    "Blackwell cards get the newest wheel for old drivers": lambda patch: patch.setitem(rules.WHEELS[1], "archs", "12.0 6.0 7.0 8.0 9.0"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_rule_judges_some_machine_wrongly(mutant: str, monkeypatch: pytest.MonkeyPatch):
    MUTANTS[mutant](monkeypatch)

    def is_wrong(file: Path) -> bool:
        try:
            return bool(wrong(load(file)))
        except Exception:  # a table that lacks what it must have
            return True

    assert any(is_wrong(file) for file in MACHINES), f"{mutant}: no machine noticed"
