"""Taking turns, fresh processes, the best of several rounds."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).resolve().parent / "peers"
_PATIENCE = 900.0  # seconds after which a measured process is given up


class Failed(RuntimeError):
    """A measured process did not end well; the text has the end of what it said."""


def fresh(arguments: Sequence[str | Path], cwd: Path) -> dict[str, Any]:
    """Run `python arguments` in a new process; returns the JSON object it prints last, and `wall`: its life in seconds."""
    started = time.monotonic()
    ours = {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "TF_CPP_MIN_LOG_LEVEL": "3", "BENCH_STARTED": repr(started)}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=_PATIENCE, env={**os.environ, **ours})
    wall = time.monotonic() - started
    if done.returncode or not done.stdout.strip():
        raise Failed(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return {**json.loads(done.stdout.splitlines()[-1]), "wall": wall}


def alternately(sides: Mapping[str, Callable[[], dict[str, Any]]], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Every side once a round, in turn; the order is reversed every other round, so that none always comes after a certain other."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides) if number % 2 == 0 else reversed(list(sides)):
            found[name].append(sides[name]())
            say(f"  round {number + 1} of {rounds}: {name}")
    return found


def best(results: Sequence[dict[str, Any]], key: str) -> float:
    return min(float(result[key]) for result in results)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def listed(values: Sequence[float], digits: int = 3) -> str:
    """Every round's figure."""
    return " ".join(f"{value:.{digits}g}" for value in values)


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(text, file=sys.stderr, flush=True)
