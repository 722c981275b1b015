"""Accelerators as the system shows them, before any framework is asked: NVIDIA's driver, cuDNN files, /dev/dri, OpenCL."""

from __future__ import annotations

import contextlib
import ctypes.util
import os
import re
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

from liandan.doctor.programs import run
from liandan.doctor.software import version

_PLACES = ("/usr/lib/wsl/lib/nvidia-smi", "C:\\Windows\\System32\\nvidia-smi.exe", "/usr/bin/nvidia-smi")
_QUERIES = ("name,driver_version,memory.total,clocks.max.sm,compute_cap", "name,driver_version,memory.total,clocks.max.sm")
_VENDORS = {"0x10de": "nvidia", "0x1002": "amd", "0x8086": "intel"}


def cards() -> list[dict[str, str]]:
    """Display controllers on the PCI bus: vendor, device, the kernel's driver."""
    found = []
    for folder in sorted(Path("/sys/bus/pci/devices").glob("*")):
        try:
            kind, vendor, device = ((folder / name).read_text().strip() for name in ("class", "vendor", "device"))
        except OSError:
            continue
        if kind.startswith("0x03") and vendor in _VENDORS:
            driver = folder / "driver"
            found.append({"vendor": _VENDORS[vendor], "device": device, "driver": driver.resolve().name if driver.exists() else ""})
    return found


def nvidia() -> dict[str, Any]:
    """What NVIDIA's driver and tools say; `error` is nvidia-smi's own sentence when it fails."""
    facts: dict[str, Any] = {
        "driver": None, "kernel": None, "cuda": None, "error": None, "gpus": [], "nvcc": None,
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "libcuda": _libcuda(),
    }  # fmt: skip
    with contextlib.suppress(OSError):
        text = Path("/proc/driver/nvidia/version").read_text()
        facts["kernel"] = next(iter(re.findall(r"Module\s+(?:for \S+\s+)?(\d+(?:\.\d+)+)", text)), None)
    if smi := shutil.which("nvidia-smi") or next((place for place in _PLACES if Path(place).exists()), None):
        facts.update(_from_smi(smi))
    nvcc = shutil.which("nvcc") or next((p for p in ("/usr/local/cuda/bin/nvcc",) if Path(p).exists()), None)
    if nvcc:
        facts["nvcc"] = next(iter(re.findall(r"release ([\d.]+)", run(nvcc, "--version")[1])), None)
    return facts


def _from_smi(smi: str) -> dict[str, Any]:
    code, text = run(smi)
    if code != 0:
        return {"error": " ".join(text.split())[:300] or f"nvidia-smi ended with code {code}"}
    facts: dict[str, Any] = {"cuda": next(iter(re.findall(r"CUDA(?: UMD)? Version:\s*([\d.]+)", text)), None), "gpus": []}
    for query in _QUERIES:  # old drivers do not know compute_cap
        code, text = run(smi, f"--query-gpu={query}", "--format=csv,noheader,nounits")
        if code == 0:
            break
    for line in text.splitlines() if code == 0 else []:
        cells = [cell.strip() for cell in line.split(",")]
        facts["driver"] = cells[1]
        gpu: dict[str, Any] = {"name": cells[0], "capability": cells[4] if len(cells) > 4 else None}
        gpu["memory"] = int(cells[2]) << 20 if cells[2].isdigit() else None
        gpu["mhz"] = int(cells[3]) if cells[3].isdigit() else None
        facts["gpus"].append(gpu)
    return facts


def _libcuda() -> bool:
    return bool(ctypes.util.find_library("nvcuda" if sys.platform == "win32" else "cuda")) or Path("/usr/lib/wsl/lib/libcuda.so.1").exists()


def cudnn() -> list[dict[str, str]]:
    """Every libcudnn on Linux: its path, version (the wheel's, or by its name), and by which way the loader would come to it."""
    if sys.platform != "linux":
        return []
    site = Path(sysconfig.get_paths()["purelib"])
    wheel = next((found for found in map(version, ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12", "nvidia-cudnn-cu11")) if found), None)
    places = [("wheel", str(folder)) for folder in (site / "nvidia/cudnn/lib", site / "torch/lib")]
    places += [("LD_LIBRARY_PATH", folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    found = [(via, file) for via, folder in places for file in sorted(Path(folder).glob("libcudnn.so*"))]
    listed = re.findall(r"^\s*libcudnn\.so\S*.*=> (\S+)", run("/sbin/ldconfig", "-p")[1], flags=re.M)
    found += [("ldconfig", Path(path)) for path in listed]
    rows: dict[str, dict[str, str]] = {}
    for via, file in found:
        real = file.resolve()
        named = re.search(r"libcudnn\.so\.([\d.]+)", real.name)
        known = wheel if via == "wheel" and wheel else named[1] if named else ""
        rows.setdefault(str(real), {"path": str(real), "via": via, "version": known})
    return list(rows.values())


def render_nodes() -> list[dict[str, Any]]:
    """/dev/dri/renderD*: whose they are, and whether this user may use them."""
    found = []
    for node in sorted(Path("/dev/dri").glob("renderD*")):
        device = Path("/sys/class/drm") / node.name / "device"
        usable = os.access(node, os.R_OK | os.W_OK)
        row: dict[str, Any] = {"node": str(node), "usable": usable, "vendor": None, "device": None, "group": None}
        with contextlib.suppress(OSError):
            vendor = (device / "vendor").read_text().strip()
            row["vendor"], row["device"] = _VENDORS.get(vendor, vendor), (device / "device").read_text().strip()
        with contextlib.suppress(KeyError, OSError):  # a container may know the number of the group and not its name
            row["group"] = node.group()
        found.append(row)
    return found


def opencl() -> dict[str, Any]:
    """The OpenCL loader and the drivers registered with it."""
    return {
        "loader": ctypes.util.find_library("OpenCL"),
        "vendors": sorted(file.stem for file in Path("/etc/OpenCL/vendors").glob("*.icd")),
    }
