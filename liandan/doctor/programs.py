"""Programs that probes ask."""

from __future__ import annotations

import subprocess


def run(*command: str, seconds: float = 15) -> tuple[int, str]:
    """A program's exit code and what it said; 127 when it is not there, 124 when it took too long."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} gave no answer in {seconds:g} seconds"
    except OSError as error:
        return 127, str(error)
    return done.returncode, done.stdout + done.stderr
