"""What a person waits for before `liandan --help` has answered."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from bench.measure import ROOT, alternately, best, listed
from bench.result import Line, Result, Setting

_GOAL = 0.3  # seconds


def measure(setting: Setting) -> Result:
    """The wall time of the command, beside that of an interpreter that does nothing and of one that imports torch."""

    def timed(*arguments: str) -> dict[str, Any]:
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        return {"seconds": time.perf_counter() - started}

    sides = {
        "nothing": lambda: timed("-c", "pass"),
        "torch": lambda: timed("-c", "import torch"),
        "liandan": lambda: timed("-m", "liandan", "--help"),
    }
    timed("-m", "liandan", "--help")  # the first start compiles and reads from the disk; a person has that once
    found = alternately(sides, setting.rounds)
    ours, bare, torch = (best(found[name], "seconds") for name in ("liandan", "nothing", "torch"))
    rounds = [r["seconds"] for r in found["liandan"]]
    goal = f"at most {_GOAL} s"
    return Result(
        [Line("`liandan --help`", "", f"{ours:.3f} s", goal=goal, met=ours <= _GOAL, rounds=listed(rounds))],
        [f"On the same machine an interpreter that does nothing takes {bare:.3f} s, one that imports torch {torch:.2f} s."],
    )
