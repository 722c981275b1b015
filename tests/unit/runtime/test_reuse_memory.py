"""Memory that a step frees serves the next one."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_STEPS = """
import resource, sys
import torch
from liandan.runtime.device import reuse_memory

if sys.argv[1] == "reuse":
    reuse_memory()

def step():
    held = [torch.ones(5 << 20) for _ in range(6)]  # of 20 MiB each, as a step's activations
    return float(sum(tensor[0] for tensor in held))

for _ in range(20):  # until the heap has found its size: blocks are aligned, and do not fit the gaps of the first steps
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    assert step() == 6
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="speaks to glibc's malloc")
def test_the_system_fills_no_page_twice() -> None:
    def faults(how: str) -> int:
        return int(subprocess.run([sys.executable, "-c", _STEPS, how], capture_output=True, text=True, check=True).stdout)

    assert faults("reuse") < faults("plain") / 10  # without it, thousands of pages a step: else this would show nothing
