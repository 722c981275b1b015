"""What a few real steps take, in a process of their own: its peak is theirs, and the system may kill it when memory runs out.

    python -m liandan.studies.measure < recipe.json
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from liandan.recipe import Recipe, make_recipe

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Measured:
    """Bytes and seconds of a few steps.

    Attributes:
        before: resident memory of the process when its libraries were imported and nothing was built.
        growth: of the peak of the resident memory over `before`; on CUDA the peak of what torch reserved there.
        steps: of the whole run.
    """

    before: int
    growth: int
    steps: int
    seconds_per_step: float


class Failed(Exception):
    """The steps could not be made; the message says why."""


def resident() -> tuple[int, int]:
    """Resident memory of this process now and at its peak, in bytes; where the system does not tell, the peak twice."""
    try:
        lines = dict(line.split(":", 1) for line in _STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("Vm"))
        return tuple(int(lines[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))  # type: ignore[return-value]
    except (OSError, KeyError):
        from liandan.runtime.device import peak_memory

        return peak_memory(), peak_memory()


def forget_peak() -> None:
    """Let the peak begin again at what is resident now, where the system allows it."""
    try:
        _FORGET.write_text("5", encoding="ascii")
    except OSError:
        return


def growth(work: Callable[[], Any]) -> tuple[int, int, Any]:
    """(resident memory before, how far `work` pushed its peak above that, what `work` returned); bytes."""
    forget_peak()
    before, _ = resident()
    done = work()
    return before, resident()[1] - before, done


def main() -> None:
    """Probe the recipe on standard input; print a Measured as JSON."""
    import torch

    from liandan.engine import probe, session

    recipe = make_recipe(json.load(sys.stdin))
    session.check(recipe)  # imports what the recipe names
    before, grown, found = growth(lambda: probe.probe(recipe))
    if torch.cuda.is_initialized():
        grown = torch.cuda.max_memory_reserved()
    print(json.dumps(asdict(Measured(before, grown, found.steps, found.seconds_per_step))))


def measure(recipe: Recipe) -> Measured:
    """Make a few steps of the recipe in a fresh process.

    Raises:
        Failed: with the process' last words.
    """
    command = [sys.executable, "-m", "liandan.studies.measure"]
    child = subprocess.run(command, input=json.dumps(recipe.values()), capture_output=True, text=True, encoding="utf-8", check=False)
    if child.returncode:
        said = child.stderr.strip().splitlines()
        killed = "killed by the system, as it is when memory runs out"
        raise Failed(killed if child.returncode == -9 else said[-1] if said else f"exit code {child.returncode}")
    return Measured(**json.loads(child.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
