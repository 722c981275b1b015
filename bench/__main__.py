"""python -m bench [names]: measure, print, and write docs/benchmarks.md.

Each benchmark runs in a process of its own; what it found is kept in build/bench, so that one noisy row can be measured again by its
name. The page is written when every row has been measured on this machine with these versions.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import machine
from bench.measure import ROOT, say
from bench.page import page, table
from bench.result import Result, Setting
from bench.rows import ROWS

KEPT = ROOT / "build" / "bench"
PAGE = ROOT / "docs" / "benchmarks.md"
_ROUNDS = 5
_PATIENCE = 1800.0  # seconds after which a benchmark is given up


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m bench", description="Measure peers beside liandan.")
    options.add_argument("names", nargs="*", metavar="name", help=f"of: {', '.join(ROWS)}; all without one")
    options.add_argument("--rounds", type=int, default=_ROUNDS, help="of which the best counts; with fewer than 5 nothing is kept")
    options.add_argument("--quick", action="store_true", help="one round, small sizes, no page: only to see that the scripts work")
    options.add_argument("--child", help=argparse.SUPPRESS)
    asked = options.parse_args()
    unknown = [name for name in asked.names if name not in ROWS]
    if unknown:
        options.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(ROWS)}")
    rounds = 1 if asked.quick else asked.rounds
    if asked.child:
        measure_here(asked.names[0], asked.quick, rounds, Path(asked.child))
        return 0
    results: dict[str, Result] = {}
    for name in asked.names or ROWS:
        results[name] = measure(name, asked.quick, rounds)
        if rounds >= _ROUNDS:
            keep(name, results[name])
    print("\n".join(table(results)))
    for name, result in results.items():
        for note in ([result.error] if result.error else []) + result.notes:
            print(f"{name}: {note}")
    if rounds >= _ROUNDS:
        write()
    return 1 if any(result.error for result in results.values()) else 0


def measure(name: str, quick: bool, rounds: int) -> Result:
    """One benchmark in a process of its own; a failure is a result too."""
    say(f"{name}: {ROWS[name].title}")
    load, started = machine.load(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file = Path(folder) / "result.json"
        command = [sys.executable, "-m", "bench", name, "--child", str(file), "--rounds", str(rounds), *(["--quick"] if quick else [])]
        try:
            done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False, timeout=_PATIENCE)
            found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
            result = Result.from_json(found) if found else Result(error=last_words(done.stderr))
        except subprocess.TimeoutExpired:
            result = Result(error=f"gave no result within {_PATIENCE:.0f} s")
    result.load, result.seconds = load, time.monotonic() - started
    result.machine = result.machine or machine.describe()
    return result


def measure_here(name: str, quick: bool, rounds: int, file: Path) -> None:
    """What the process of its own does."""
    here = machine.describe()  # before a run has set the number of its threads
    with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as folder:
        result: Result = importlib.import_module(ROWS[name].module).measure(Setting(quick, rounds, Path(folder)))
    result.machine = here
    file.write_text(json.dumps(result.to_json()), encoding="utf-8")


def last_words(text: str) -> str:
    """The last line of what a process said: of a traceback, the error."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else "the process said nothing"


def keep(name: str, result: Result) -> None:
    """At once: an hour of measuring is not lost to what breaks in its last minute."""
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{name}.json").write_text(json.dumps(result.to_json(), indent=1), encoding="utf-8")


def write() -> None:
    """The page of what was kept, when nothing is missing."""
    here = machine.describe()
    known = {name: Result.from_json(json.loads((KEPT / f"{name}.json").read_text())) for name in ROWS if (KEPT / f"{name}.json").exists()}
    missing = [name for name in ROWS if name not in known or known[name].machine != here]
    if missing:
        say(f"{PAGE.relative_to(ROOT)} is not written: not measured here yet: {', '.join(missing)}")
        return
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(known), encoding="utf-8")
    say(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
