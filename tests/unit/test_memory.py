"""Memory that a step frees serves the next one, until it runs out."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_STEPS = """
import resource, sys
import torch
from liandan.memory import keep_freed, return_freed

if sys.argv[1] != "plain":
    keep_freed()

def step():
    held = [torch.ones(5 << 20) for _ in range(6)]  # of 20 MiB each, as a step's activations
    return float(sum(tensor[0] for tensor in held))

for _ in range(20):  # until the heap has found its size: blocks are aligned, and do not fit the gaps of the first steps
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    assert step() == 6
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() >> 20

kept = resident()
if sys.argv[1] == "return":
    return_freed()
print(kept - resident())
step()
print(kept - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="speaks to glibc's malloc")
def test_the_system_fills_no_page_twice_until_memory_is_returned() -> None:
    def told(how: str) -> list[int]:
        """Pages filled in 20 steps; MiB that the process has less at their end, and after another step."""
        done = subprocess.run([sys.executable, "-c", _STEPS, how], capture_output=True, text=True, check=True)
        return [int(n) for n in done.stdout.split()]

    plain, kept, returned = told("plain"), told("keep"), told("return")
    assert kept[0] < plain[0] / 10  # without it, thousands of pages a step: else this would show nothing
    assert kept[1] < 10
    assert returned[1] > 90 and returned[2] > 90  # of the 120 MiB of a step
