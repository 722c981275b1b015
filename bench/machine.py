"""The machine in general words: what a reader needs to judge the figures, and nothing that names it."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

# instruction sets that decide how fast a network is multiplied, as Linux spells them
_SETS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "AVX512-VNNI", "avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX-BF16"}
_PACKAGES = ("torch", "torchvision", "numpy")


def describe() -> dict[str, Any]:
    """{processor, instruction sets, cores, memory, threads, python, versions, system}: JSON values."""
    import torch

    facts = _processor()
    flags = set(str(facts.get("flags", "")).split())
    return {
        "processor": facts.get("model name") or platform.processor() or platform.machine(),
        "family": facts.get("cpu family", ""),
        "sets": [name for flag, name in _SETS.items() if flag in flags],
        "missing": [name for flag, name in _SETS.items() if flag not in flags],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in _PACKAGES},
    }


def sentence(facts: dict[str, Any]) -> str:
    """The facts as one sentence."""
    family = f" family {facts['family']}" if facts["family"] else ""
    lacking = f", without {' and '.join(facts['missing'])}" if facts["missing"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"{facts['processor']}{family} with {', '.join(facts['sets'])}{lacking}; {facts['cores']} usable cores, {facts['threads']} threads "
        f"on either side, {facts['memory']} GiB of memory; {facts['system']}, Python {facts['python']}, {versions}."
    )


def has(facts: dict[str, Any], instructions: str) -> bool:
    return instructions in facts["sets"]


def load() -> float:
    """The one-minute load average: processes that ran or waited."""
    return round(os.getloadavg()[0], 2)


def _processor() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
