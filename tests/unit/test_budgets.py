"""Budgets of ARCHITECTURE: what outgrows them is cut, not excused."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE, FUNCTION = 500, 80
TIGHTER = {"liandan/engine/train.py": 150}


def over_budget(source: str, name: str) -> list[str]:
    """Each fault of a file's text, one line each."""
    tree = ast.parse(source)
    lines = source.count("\n")
    found = []
    budget = TIGHTER.get(name, FILE)
    if lines > budget and not is_table(tree):
        found.append(f"{name}: {lines} lines, the budget is {budget}")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION:
                found.append(f"{name}:{node.lineno}: {node.name} has {length} lines, the budget is {FUNCTION}")
    return found


def is_table(tree: ast.Module) -> bool:
    """Whether a file is data alone: a docstring, imports and assignments."""
    return all(isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign) for node in tree.body)


def test_files_and_functions_keep_their_budgets():
    files = [path for room in ("liandan", "tests", "bench") for path in sorted((ROOT / room).rglob("*.py"))]
    assert ROOT / "liandan/__init__.py" in files
    faults = [fault for path in files for fault in over_budget(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())]
    assert not faults, "\n".join(faults)


def test_a_file_a_function_and_the_loop_that_are_too_long_are_told():
    short = "def f():\n" + "    pass\n" * (FUNCTION - 1)
    assert over_budget(short, "liandan/x.py") == []
    assert over_budget(short + "    pass\n", "liandan/x.py") == [f"liandan/x.py:1: f has {FUNCTION + 1} lines, the budget is {FUNCTION}"]
    assert over_budget("def f(): ...\n" * (FILE + 1), "liandan/x.py") == [f"liandan/x.py: {FILE + 1} lines, the budget is {FILE}"]
    assert over_budget("def f(): ...\n" * 151, "liandan/engine/train.py") == ["liandan/engine/train.py: 151 lines, the budget is 150"]
    assert over_budget("TABLE = {}\n" * 900, "liandan/x.py") == []
