"""The processor and the memory, as much of them as this process may use: affinity, control groups of both versions."""

from __future__ import annotations

import math
import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from liandan.doctor.programs import run

_SOME_MEMORY = 4 << 30  # bytes
_ENDLESS = 1 << 60  # what version 1 writes where there is no limit is larger
_WINDOWS_FEATURES = {"avx2": 40, "fma": 40, "avx512f": 41}  # of IsProcessorFeaturePresent; no processor with AVX2 lacks FMA
_APPLE_FEATURES = {"hw.optional.avx2_0": "avx2", "hw.optional.fma": "fma", "hw.optional.avx512f": "avx512f"}


def usable_cores() -> int:
    """Logical cores whose time this process may use: those of its affinity, no more than its control group pays for."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def cpu_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Cores' worth of time that the control groups above this process allow it; None is no limit."""
    found = []
    for folder in _groups(root, own, "cpu"):
        words = _read(folder / "cpu.max").split() or [_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")]
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit():  # else "max", "-1", or no such file
            found.append(int(words[0]) / int(words[1]))
    return min(found, default=None)


def memory_limit(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> tuple[int, int] | None:
    """Bytes that the tightest control group above this process may hold, and holds; None is no limit."""
    return min(_memory_limits(root, own), default=None)


def _memory_limits(root: Path, own: Path) -> Iterator[tuple[int, int]]:
    """(bytes it may hold, bytes it holds and cannot let go) of each control group that has a limit."""
    for folder in _groups(root, own, "memory"):
        for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            text = _read(folder / limit)
            if text.isdigit() and int(text) < _ENDLESS:
                used = _read(folder / usage)
                # pages of files that nobody has read twice are given back before anything is killed
                idle = re.search(r"^(?:total_)?inactive_file (\d+)$", _read(folder / "memory.stat"), flags=re.M)
                yield int(text), max(0, (int(used) if used.isdigit() else 0) - (int(idle[1]) if idle else 0))


def memory_available(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Bytes that this process may still take: of what is free in the machine (4 GiB where it does not tell), and in every control group
    above it."""
    free = memory()["available"]
    return min([max(0, limit - held) for limit, held in _memory_limits(root, own)] + [_SOME_MEMORY if free is None else free])


def _groups(root: Path, own: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's control groups, from its own up to the root; in a container the lower ones may be out of sight."""
    for line in _read(own).splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" and not names:
            mounts = [root, root / "unified"]
        elif controller in names.split(","):
            mounts = [root / names, root / controller]
        else:
            continue
        for mount in mounts:
            parts = [part for part in path.split("/") if part not in ("", "..")]
            for depth in range(len(parts), -1, -1):
                yield mount.joinpath(*parts[:depth])


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def cpu() -> dict[str, Any]:
    """The processor: name, kind, cores, instructions, clock in MHz."""
    facts: dict[str, Any] = {
        "name": platform.processor() or platform.machine(), "machine": platform.machine(), "logical": os.cpu_count() or 1,
        "affinity": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "quota": cpu_quota(), "usable": usable_cores(), "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }  # fmt: skip
    facts.update(_from_proc(_read(Path("/proc/cpuinfo"))))
    if sys.platform == "darwin":
        facts.update(_from_sysctl())
    elif sys.platform == "win32":
        import ctypes

        present = ctypes.windll.kernel32.IsProcessorFeaturePresent
        facts["flags"] = [name for name, number in _WINDOWS_FEATURES.items() if present(number)]
    highest = _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"))
    if highest.isdigit():
        facts["mhz"] = int(highest) / 1000
    return facts


def _from_proc(text: str) -> dict[str, Any]:
    blocks = [dict(re.findall(r"^([^\t:]+?)\s*:[ \t]*(.*)$", block, flags=re.M)) for block in text.split("\n\n") if block.strip()]
    if not blocks:
        return {}
    first, facts = blocks[0], {}
    for key, name in (("model name", "name"), ("vendor_id", "vendor")):
        if key in first:
            facts[name] = first[key]
    for key in ("family", "model"):
        if (first.get("cpu family" if key == "family" else key) or "").isdigit():
            facts[key] = int(first["cpu family" if key == "family" else key])
    facts["flags"] = sorted((first.get("flags") or first.get("Features") or "").split())
    clocks = [float(block["cpu MHz"]) for block in blocks if re.fullmatch(r"[\d.]+", block.get("cpu MHz", ""))]
    if clocks:
        facts["mhz"] = max(clocks)
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(blocks))
    cores = {(b["physical id"], b["core id"]) for b in blocks if "core id" in b and "physical id" in b and int(b["processor"]) in allowed}
    if cores:
        facts["physical"] = len(cores)
    return facts


def _from_sysctl() -> dict[str, Any]:
    keys = ["machdep.cpu.brand_string", "hw.physicalcpu", *_APPLE_FEATURES]
    found = {}
    for key in keys:
        code, text = run("sysctl", "-n", key)
        found[key] = text.strip() if code == 0 else ""
    facts: dict[str, Any] = {"flags": [name for key, name in _APPLE_FEATURES.items() if found[key] == "1"]}
    if found["machdep.cpu.brand_string"]:
        facts["name"] = found["machdep.cpu.brand_string"]
    if found["hw.physicalcpu"].isdigit():
        facts["physical"] = int(found["hw.physicalcpu"])
    return facts


def memory() -> dict[str, Any]:
    """Bytes of memory: of the machine, free in it, the control group's limit and what it holds."""
    facts: dict[str, Any] = {"total": None, "available": None, "limit": None, "held": None}
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", _read(Path("/proc/meminfo")), flags=re.M))
    if "MemTotal" in found:
        facts["total"] = int(found["MemTotal"]) * 1024
        facts["available"] = int(found.get("MemAvailable", found["MemTotal"])) * 1024
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        facts["total"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    elif sys.platform == "win32":
        facts.update(_windows_memory())
    if limit := memory_limit():
        facts["limit"], facts["held"] = limit
    return facts


def _windows_memory() -> dict[str, int]:
    import ctypes

    class Status(ctypes.Structure):  # MEMORYSTATUSEX
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong) for name in ("total", "available", "a", "b", "c", "d", "e")
        ]

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # pyright: ignore[reportAttributeAccessIssue]
    return {"total": status.total, "available": status.available}
