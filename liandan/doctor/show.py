"""Findings as lines for a terminal: aligned, wrapped, in color where a person watches. Chinese characters are two columns wide."""

from __future__ import annotations

import itertools
import os
import sys
import unicodedata
from collections.abc import Mapping
from typing import Any

from liandan.doctor.judge import verdict
from liandan.doctor.words import LABELS, SECTION_TITLES, VERDICTS

_MARKS = {"ok": ("ok", "32"), "info": ("info", "36"), "warn": ("WARN", "33"), "fail": ("FAIL", "31")}
_INDENT = 8  # columns before the text of a finding
_WIDEST = 120


def language(environment: Mapping[str, str] = os.environ) -> str:
    """"zh" where the locale is Chinese, else "en"; the order of the variables is POSIX's."""
    said = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    if not said and sys.platform == "win32":
        import ctypes

        return "zh" if ctypes.windll.kernel32.GetUserDefaultUILanguage() & 0x3FF == 0x04 else "en"
    return "zh" if said.lower().startswith("zh") else "en"


def lines(findings: list[dict[str, str]], tongue: str = "en", color: bool = False, width: int = 80) -> list[str]:
    """The report: a block for each section, and the verdict as the last line."""
    out = []
    for section, rows in itertools.groupby(findings, key=lambda row: row["section"]):
        out.append(_paint(SECTION_TITLES[section][tongue], "1", color))
        for row in rows:
            out += _finding(row, tongue, color, min(width, _WIDEST))
        out.append("")
    counts = {name: sum(row["level"] == level for row in findings) for name, level in (("failures", "fail"), ("warnings", "warn"))}
    worst = verdict(findings)
    bare = worst == "ok" and any(row["id"] == "torch-absent" for row in findings)
    return [*out, _paint(VERDICTS["bare" if bare else worst][tongue].format(**counts), f"1;{_MARKS[worst][1]}", color)]


def _finding(row: dict[str, str], tongue: str, color: bool, width: int) -> list[str]:
    word, paint = _MARKS[row["level"]]
    told = wrap(row["what"], width - _INDENT)
    out = [_paint(f"  {word:<{_INDENT - 2}}", paint, color) + told[0], *(" " * _INDENT + line for line in told[1:])]
    texts = [row["why"]]
    texts += [f"{LABELS['do'][tongue]}: {row['do']}"] if row["do"] else []
    texts += [f"{LABELS['source'][tongue]}: {row['source']}"] if row["level"] in ("warn", "fail") and "://" in row["source"] else []
    for text in texts:
        for line in wrap(text, width - _INDENT - 2) if text else ():
            out.append(" " * (_INDENT + 2) + _paint(line, "2", color and text is row["why"]))
    return out


def wrap(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` columns, broken at spaces and between Chinese characters."""
    out, line, used = [], "", 0
    for piece in _pieces(text):
        size = columns(piece)
        if used and used + columns(piece.rstrip()) > width:
            out.append(line.rstrip())
            line, used = "", 0
            piece = piece.lstrip()
            size = columns(piece)
        line += piece
        used += size
    return [*out, line.rstrip()]


def _pieces(text: str) -> list[str]:
    """What must not be broken: words with the spaces behind them, single Chinese characters with the punctuation behind them."""
    out: list[str] = []
    for character in text:
        last = out[-1][-1] if out else " "
        joined = out and (
            character == " "
            or (_wide(character) and unicodedata.category(character) in ("Po", "Pe", "Pf"))
            or (not _wide(character) and not _wide(last) and last != " ")
            or (_wide(last) and unicodedata.category(last) in ("Ps", "Pi"))
        )
        if joined:
            out[-1] += character
        else:
            out.append(character)
    return out


def _wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F")


def columns(text: str) -> int:
    """Columns that a terminal gives the text."""
    return sum(2 if _wide(character) else 1 for character in text)


def _paint(text: str, code: str, color: bool) -> str:
    return f"\033[{code}m{text}\033[0m" if color else text


def installing(plan: dict[str, Any]) -> list[str]:
    """The commands of `install.plan`, each reason before them as a comment of the shell: the output can be pasted whole."""
    return [*(f"# {reason}" for reason in plan["why"]), *plan["commands"]]
