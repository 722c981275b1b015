"""Python, the system, the disk, and what is installed. Nothing that is installed is imported."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import struct
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from liandan.doctor.rules import CUDA_FILES, CUDA_NAMES

ROOT = Path(__file__).resolve().parents[2]  # of the checkout, if this is one
_NOT_EXTRAS = ("all", "dev")  # the sum of the others; what the project's own tests need
_WATCHED = ("torch", "torchvision", "torchaudio", "openvino")


def system() -> dict[str, Any]:
    """The operating system and its C library."""
    name, version = platform.libc_ver()
    release = platform.uname().release
    return {
        "system": platform.system().lower(), "release": release, "machine": platform.machine(),
        "libc": [name, version] if name else None,
        "musl": any(Path("/lib").glob("ld-musl-*")) and name != "glibc",
        "macos": platform.mac_ver()[0] or None,
        "wsl": "microsoft" in release.lower(),
        "container": Path("/.dockerenv").exists() or Path("/run/.containerenv").exists() or "KUBERNETES_SERVICE_HOST" in os.environ,
    }  # fmt: skip


def python() -> dict[str, Any]:
    """This Python, and whether its packages are the system's to manage."""
    return {
        "version": platform.python_version(), "implementation": platform.python_implementation(), "bits": struct.calcsize("P") * 8,
        "executable": sys.executable, "environment": sys.prefix != sys.base_prefix or "CONDA_PREFIX" in os.environ,
        "managed": (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").exists(),
    }  # fmt: skip


def disk() -> list[dict[str, Any]]:
    """Bytes free where runs, downloads and temporary files go, a row a file system."""
    cache = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface")
    rows: dict[int, dict[str, Any]] = {}
    for use, place in (("runs", os.getcwd()), ("packages", sys.prefix), ("cache", cache), ("temporary", tempfile.gettempdir())):
        path = Path(place)
        while not path.exists() and path != path.parent:
            path = path.parent
        row = rows.setdefault(os.stat(path).st_dev, {"path": str(path), "uses": [], "free": shutil.disk_usage(path).free})
        row["uses"].append(use)
    return list(rows.values())


def shm() -> int | None:
    """Bytes that /dev/shm may hold, through which data workers hand over their batches; None where there is none."""
    return shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else None


def packages() -> dict[str, Any]:
    """Versions of the packages that matter here, what liandan asks for, and which of them carry which CUDA."""
    wanted = requirements()
    names = {*_WATCHED, *(name for group in wanted.values() for name, _ in group), *(d for row in CUDA_FILES for d in row[0])}
    installed = {name: version(name) for name in sorted(names)}
    return {
        "versions": {name: found for name, found in installed.items() if found},
        "wanted": {group: [[name, floor] for name, floor in rows] for group, rows in wanted.items()},
        "frameworks": frameworks(), "checkout": str(ROOT) if (ROOT / "pyproject.toml").is_file() else None,
    }  # fmt: skip


def requirements() -> dict[str, list[tuple[str, str]]]:
    """liandan's requirements, by extra ("" is what it always needs), as (name, oldest version)."""
    listed: dict[str, list[str]] = {}
    if (ROOT / "pyproject.toml").is_file():
        import tomllib

        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        listed = {"": project["dependencies"], **project["optional-dependencies"]}
    else:
        try:
            lines = importlib.metadata.requires("liandan") or []
        except importlib.metadata.PackageNotFoundError:
            lines = []
        for line in lines:
            extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
            listed.setdefault(extra[1] if extra else "", []).append(line)
    found: dict[str, list[tuple[str, str]]] = {}
    for extra, lines in listed.items():
        if extra not in _NOT_EXTRAS:
            matches = [re.match(r"([\w.-]+)(?:\[[^\]]*\])?\s*\(?(?:>=\s*([\w.]+))?", line) for line in lines]
            found[extra] = [(m[1].lower().replace("_", "-"), m[2] or "0") for m in matches if m]
    return found


def version(name: str) -> str | None:
    """An installed package's version, without importing it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def frameworks() -> list[dict[str, Any]]:
    """Installed frameworks and the CUDA each says it was built with (None: for processors alone)."""
    found: list[dict[str, Any]] = []
    site = [Path(folder) for folder in dict.fromkeys((*sys.path, sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))) if folder]
    for distributions, file, pattern in CUDA_FILES:
        for name in distributions:
            text = next(((s / file).read_text(encoding="utf-8", errors="replace") for s in site if (s / file).is_file()), "")
            if version(name) and text:
                said = re.search(pattern, text)
                local = re.search(r"__version__\s*=\s*['\"]([^'\"]+)", text)  # with the build, such as +cu130
                exact = local[1] if name == "torch" and local else version(name)
                found.append({"name": name.removesuffix("-gpu"), "version": exact, "cuda": said[1] if said else None})
    for distribution, name, cuda in CUDA_NAMES:
        if version(distribution):
            found.append({"name": name, "version": version(distribution), "cuda": cuda})
    return found
