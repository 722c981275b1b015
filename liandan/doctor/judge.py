"""Facts -> findings. A pure function: it runs on this machine's facts and on those of machines that others reported.

Facts that are missing are not judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from liandan.doctor import rules
from liandan.doctor.words import TEXT, WORDS

Facts = dict[str, Any]
Found = tuple[str, dict[str, Any]]
GIB = 1 << 30
_X86 = ("x86_64", "amd64", "AMD64", "i386", "i686")


def judge(facts: Facts, language: str = "en") -> list[dict[str, str]]:
    """Every finding on these facts, in the order of the sections.

    Args:
        facts: what `facts.facts` returns, or part of it.
        language: "en" or "zh".

    Returns:
        Rows of {id, section, level, what, why, do, source}; level is ok, info, warn or fail; why and do may be empty.
    """
    rows = []
    for part in (_system, _cpu, _torch, _extras, _nvidia, _frameworks, _architectures, _libraries, _devices, _network, _speed):
        for name, values in part(facts):
            section, level, source = rules.RULES[name]
            spoken = {key: _words(value, language) if isinstance(value, list) else value for key, value in values.items()}
            what, why, do = (text.format(**spoken) for text in TEXT[name][language])
            rows.append(
                {"id": name, "section": section, "level": level, "what": what, "why": why, "do": do, "source": rules.SOURCES[source]}
            )
    return sorted(rows, key=lambda row: rules.SECTIONS.index(row["section"]))


def _words(words: list[str], language: str) -> str:
    return ", ".join(WORDS[language].get(word, word) for word in words)


def verdict(findings: list[dict[str, str]]) -> str:
    """The worst level: "ok", "warn" or "fail"."""
    levels = {row["level"] for row in findings}
    return "fail" if "fail" in levels else "warn" if "warn" in levels else "ok"


def numbers(version: str) -> tuple[int, ...]:
    """A version as numbers: "570.86.10" -> (570, 86, 10), "2.9.1+cu128" -> (2, 9, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0].partition(".dev")[0]))


def minor(version: str) -> str:
    """The first two numbers: "2.9.1+cu128" -> "2.9"."""
    return ".".join(str(n) for n in numbers(version)[:2])


# ---- system, processor ----


def _system(facts: Facts) -> Iterator[Found]:
    python, system, memory = facts.get("python", {}), facts.get("system", {}), facts.get("memory", {})
    if "version" in python:
        old = numbers(python["version"]) < numbers(rules.PYTHON_FLOOR)
        yield "python-old" if old else "python", {"version": python["version"], "floor": rules.PYTHON_FLOOR}
    if python.get("bits") == 32:
        yield "python-32", {}
    if python.get("managed") and not python.get("environment"):
        yield "python-managed", {}
    libc = system.get("libc")
    if system.get("musl"):
        yield "libc-musl", {}
    elif libc and libc[0] == "glibc" and numbers(libc[1]) < numbers(rules.GLIBC_FLOOR):
        yield "libc-old", {"version": libc[1], "floor": rules.GLIBC_FLOOR}
    if system.get("system") == "darwin" and system.get("machine") == "x86_64":
        yield "mac-intel", {}
    total, limit = memory.get("total"), memory.get("limit")
    sizes = [size for size in (total, limit) if size]
    if limit and total and limit < total:
        yield "memory-limit", {"limit": _size(limit), "total": _size(total)}
    if sizes:
        yield "memory-low" if min(sizes) < rules.LOW_MEMORY else "memory", {"usable": _size(min(sizes))}
    for row in facts.get("disk", []):
        name = "disk-full" if row["free"] < rules.NO_DISK else "disk-low" if row["free"] < rules.LOW_DISK else "disk"
        yield name, {"free": _size(row["free"]), "path": row["path"], "uses": row.get("uses", [])}
    if facts.get("shm") is not None and facts["shm"] < rules.SMALL_SHM:
        yield "shm-small", {"size": _size(facts["shm"])}


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count >> 20} MiB"


def _cpu(facts: Facts) -> Iterator[Found]:
    cpu = facts.get("cpu")
    if not cpu:
        return
    if "usable" in cpu:
        yield "cpu", {"name": cpu.get("name", ""), "usable": cpu["usable"], "logical": cpu.get("logical", cpu["usable"])}
        allowed = cpu.get("affinity") or cpu.get("logical") or 0
        if cpu.get("quota") is not None and cpu["usable"] < allowed:
            yield "cpu-quota", {"quota": f"{cpu['quota']:g}", "allowed": allowed, "usable": cpu["usable"]}
        threads = str(cpu.get("omp_num_threads") or "")
        if threads.isdigit() and int(threads) > cpu["usable"]:
            yield "threads-many", {"threads": threads, "usable": cpu["usable"]}
    flags = set(cpu.get("flags") or ())
    if not flags or cpu.get("machine", "x86_64") not in _X86:
        return
    present = {name for name, options in rules.CPU_FEATURES if any(flags.issuperset(option) for option in options)}
    for name, _ in rules.CPU_FEATURES:
        if name in present:
            yield name, {}
    if "cpu-avx2" not in present:
        yield "cpu-no-avx2", {}
    elif not present & {"cpu-bf16", "cpu-amx"} and facts.get("system", {}).get("system", "linux") == "linux":  # elsewhere nobody tells
        yield "cpu-no-bf16", {}


# ---- packages ----


def _torch_version(facts: Facts) -> str | None:
    packages = facts.get("packages", {})
    said = [row["version"] for row in packages.get("frameworks", []) if row["name"] == "torch"]
    return next(iter([v for v in (facts.get("torch", {}).get("version"), *said, packages.get("versions", {}).get("torch")) if v]), None)


def _torch(facts: Facts) -> Iterator[Found]:
    versions = facts.get("packages", {}).get("versions")
    torch = _torch_version(facts)
    if versions is not None and torch is None:
        yield "torch-absent", {}
    if torch is None:
        return
    error = facts.get("torch", {}).get("error")
    yield ("torch-broken", {"version": torch, "error": error}) if error else ("torch", {"version": torch})
    vision = (versions or {}).get("torchvision")
    wanted = rules.PAIRS.get(minor(torch))
    if vision is None or wanted is None:
        return
    values = {"torch": torch, "torchvision": vision, "wanted": wanted}
    builds = [version.partition("+")[2] for version in ((versions or {}).get("torch") or torch, vision)]
    system = facts.get("system", {})
    untagged = builds == ["cpu", ""] and system.get("system") == "linux" and system.get("machine", "x86_64") in _X86  # there it is CUDA's
    if minor(vision) != wanted:
        yield "pair-wrong", values
    elif untagged or (all(builds) and builds[0] != builds[1]):
        yield "pair-builds", values
    else:
        yield "pair", values


def _extras(facts: Facts) -> Iterator[Found]:
    packages = facts.get("packages", {})
    versions = packages.get("versions", {})
    for extra, rows in packages.get("wanted", {}).items():
        target = packages["checkout"] if packages.get("checkout") else "liandan"
        command = f'python -m pip install {"-e " if packages.get("checkout") else ""}"{target}{f"[{extra}]" if extra else ""}"'
        absent = [name for name, _ in rows if name not in versions]
        old = [f"{name} {versions[name]} (< {low})" for name, low in rows if name in versions and numbers(versions[name]) < numbers(low)]
        values = {"extra": f"liandan[{extra}]" if extra else "liandan", "command": command}
        if absent:
            yield "extra-absent", {**values, "packages": ", ".join(absent)}
        if old:
            yield "extra-old", {**values, "packages": ", ".join(old)}
        if not absent and not old:
            yield "extra", {**values, "packages": ", ".join(f"{name} {versions[name]}" for name, _ in rows)}


# ---- NVIDIA ----


def driver(facts: Facts) -> str | None:
    """The NVIDIA driver's version, when one works."""
    nvidia = facts.get("nvidia", {})
    return None if nvidia.get("error") else nvidia.get("driver")


def numbering(facts: Facts) -> str:
    """Whose driver numbers these are: inside WSL the driver is that of Windows."""
    system = facts.get("system", {})
    return "windows" if system.get("system") == "windows" or system.get("wsl") else "linux"


def floor(cuda: str, platform: str) -> str | None:
    """The oldest driver that runs programs of this CUDA: its major version's, or the toolkit's own where that is older; None: unknown."""
    tables = (rules.FLOORS.get(numbers(cuda)[0]), rules.TOOLKIT_DRIVERS.get(minor(cuda)))
    return min((table[platform] for table in tables if table and table[platform]), key=numbers, default=None)


def gpus(facts: Facts) -> list[tuple[str, str | None]]:
    """NVIDIA cards as (name, compute capability), each kind once."""
    nvidia = facts.get("nvidia", {}).get("gpus") or []
    torch = [row for row in facts.get("torch", {}).get("devices", []) if row["device"].startswith("cuda")]
    found: dict[str, str | None] = {}
    for row in (*nvidia, *torch):
        named = next((cc for pattern, cc in rules.CAPABILITIES if re.search(pattern, row["name"])), None)
        found[row["name"]] = row.get("capability") or found.get(row["name"]) or named
    return list(found.items())


def _nvidia(facts: Facts) -> Iterator[Found]:
    nvidia = facts.get("nvidia", {})
    cards = [card for card in facts.get("cards", []) if card["vendor"] == "nvidia"]
    error, kernel = nvidia.get("error"), nvidia.get("kernel")
    if error and "version mismatch" in error:
        yield "nvidia-mismatch", {"error": error}
    elif found := driver(facts):
        platform = numbering(facts)
        runs = [f"{major}.x" for major, floors in sorted(rules.FLOORS.items()) if numbers(found) >= numbers(floors[platform])]
        yield "nvidia", {"driver": found, "gpus": ", ".join(name for name, _ in gpus(facts)), "runs": ", ".join(runs) or "< 11"}
    elif kernel and nvidia.get("libcuda") is False:
        yield "nvidia-container", {"kernel": kernel}
    elif error and (kernel or cards):
        yield "nvidia-silent", {"error": error}
    elif cards:
        yield "nvidia-no-driver", {"kernel_driver": cards[0].get("driver") or "-"}


def _frameworks(facts: Facts) -> Iterator[Found]:
    found, platform = driver(facts), numbering(facts)
    torch, nvidia = facts.get("torch", {}), facts.get("nvidia", {})
    rows = facts.get("packages", {}).get("frameworks", [])
    below = False
    for row in rows:
        if not row.get("cuda") or not found:
            continue
        cuda = row["cuda"]
        lowest, full = floor(cuda, platform), (rules.TOOLKIT_DRIVERS.get(minor(cuda)) or {}).get(platform)
        values = {"framework": row["name"], "version": row["version"], "cuda": cuda, "major": numbers(cuda)[0], "driver": found}
        if lowest and numbers(found) < numbers(lowest):
            below = below or row["name"] == "torch"
            yield "driver-below-floor", {**values, "floor": lowest}
        elif full and numbers(found) < numbers(full):
            yield "driver-limited", {**values, "floor": lowest, "full": full}
        elif lowest:
            yield "driver-full" if full else "driver-enough", values
    mine = next((row for row in rows if row["name"] == "torch"), None)
    if mine is None:
        return
    hidden = nvidia.get("visible") in ("", "-1")
    if hidden and (found or gpus(facts)):
        yield "cuda-hidden", {"visible": nvidia["visible"]}
    if not mine.get("cuda") and not torch.get("hip") and not torch.get("xpu_built") and (found or gpus(facts)):
        yield "torch-cpu-build", {"version": mine["version"]}
    if mine.get("cuda") and "nvidia" in facts:
        if found and torch.get("cuda_available") is False and not below and not hidden:
            yield "cuda-off", {"version": mine["version"]}
        if not found and not nvidia.get("error") and not nvidia.get("kernel") and not facts.get("cards"):
            yield "cuda-idle", {"version": mine["version"], "cuda": mine["cuda"]}


def compiled_for(facts: Facts) -> list[str] | None:
    """Architectures that torch holds code for, as "8.6" and "9.0+PTX": by its own word, else by the table of its wheels."""
    said = facts.get("torch", {}).get("archs")
    if said:
        matches = [re.match(r"(sm|compute)_(\d+)(\d)", arch) for arch in said]
        return [f"{m[2]}.{m[3]}{'+PTX' if m[1] == 'compute' else ''}" for m in matches if m]
    for row in facts.get("packages", {}).get("frameworks", []):
        if row["name"] == "torch" and row.get("cuda"):
            for first, last, cuda, archs in rules.WHEEL_ARCHS:
                if numbers(first) <= numbers(minor(row["version"])) <= numbers(last) and minor(row["cuda"]) == cuda:
                    return archs.split()
    return None


def runs_on(capability: str, archs: list[str]) -> str | None:
    """How code for these architectures runs on a card: "binary", "ptx" (compiled by the driver at the first start), or None: not.

    Machine code runs on its own architecture and on later ones of the same major number; PTX on every later one.
    """
    card = numbers(capability)
    compiled = [numbers(arch.removesuffix("+PTX")) for arch in archs]
    exact = capability in rules.NOT_BINARY_COMPATIBLE
    if any(arch == card or (arch[0] == card[0] and arch <= card and not exact) for arch in compiled):
        return "binary"
    return "ptx" if any(arch.endswith("+PTX") and numbers(arch) <= card for arch in archs) else None


def _architectures(facts: Facts) -> Iterator[Found]:
    archs, torch = compiled_for(facts), _torch_version(facts) or ""
    for name, capability in gpus(facts):
        if archs and capability:
            how = runs_on(capability, archs)
            values = {"gpu": name, "capability": capability, "torch": torch, "archs": " ".join(archs)}
            yield {"binary": "arch", "ptx": "arch-ptx", None: "arch-missing"}[how], values


def cudnn_version(number: int) -> str:
    """cuDNN's number as its makers write it: 8907 -> "8.9.7", 91002 -> "9.10.2"."""
    if number >= 90000:
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    return f"{number // 1000}.{number // 100 % 10}.{number % 100}"


def _libraries(facts: Facts) -> Iterator[Found]:
    nvidia, torch = facts.get("nvidia", {}), facts.get("torch", {})
    rows = facts.get("cudnn", [])
    own = [row["version"] for row in rows if row["via"] == "wheel" and row["version"]]
    own += [torch["cudnn_built"]] if torch.get("cudnn_built") else []
    for row in rows:
        if row["via"] != "wheel" and own and row["version"] and numbers(row["version"]) != numbers(own[0])[: len(numbers(row["version"]))]:
            name = "cudnn-second" if row["via"] == "LD_LIBRARY_PATH" else "cudnn-elsewhere"
            yield name, {"path": row["path"], "version": row["version"], "own": own[0]}
    replaced = re.findall(r"\((\d+), (\d+), (\d+)\)", torch.get("cudnn_error") or "")
    if len(replaced) == 2:
        yield "cudnn-replaced", {"own": ".".join(replaced[0]), "version": ".".join(replaced[1])}
    elif torch.get("cudnn"):
        yield "cudnn", {"version": cudnn_version(torch["cudnn"])}
    cuda = next((row["cuda"] for row in facts.get("packages", {}).get("frameworks", []) if row["name"] == "torch"), None)
    if nvidia.get("nvcc"):
        yield "nvcc", {"version": nvidia["nvcc"]}
    if nvidia.get("driver") or nvidia.get("nvcc") or (cuda and gpus(facts)):
        yield "three-cudas", {"smi": nvidia.get("cuda") or "-", "nvcc": nvidia.get("nvcc") or "-", "torch": cuda or "-"}


# ---- other devices ----


def _devices(facts: Facts) -> Iterator[Found]:
    system, torch, cards, render = facts.get("system", {}), facts.get("torch", {}), facts.get("cards", []), facts.get("render", [])
    if system.get("system") == "darwin" and torch.get("mps_built"):
        if torch.get("mps_available"):
            yield "mps", {}
        elif system.get("macos") and numbers(system["macos"]) < numbers(rules.MACOS_FLOOR_MPS):
            yield "mps-macos", {"macos": system["macos"], "floor": rules.MACOS_FLOOR_MPS}
        else:
            yield "mps-off", {"macos": system.get("macos") or ""}
    modern = [c for c in (*cards, *render) if c.get("vendor") == "intel" and (c.get("device") or "").startswith(rules.XPU_DEVICES)]
    names = ", ".join(row["name"] for row in torch.get("devices", []) if row["device"].startswith("xpu")) or "available"
    if torch.get("xpu_available"):
        yield "xpu", {"names": names}
    elif torch.get("xpu_built"):
        yield "xpu-off", {}
    elif modern and torch:
        yield "xpu-wheel", {"index": rules.WHEEL_INDEX.format(tag="xpu")}
    if any(card["vendor"] == "amd" for card in cards) and not torch.get("hip"):
        yield "amd", {}
    intel = [row for row in (*cards, *render) if row.get("vendor") == "intel"]
    openvino = facts.get("openvino")
    if openvino:
        if openvino.get("error"):
            yield "openvino-broken", {"error": openvino["error"]}
        else:
            yield "openvino", {"devices": ", ".join(f"{row['device']} ({row['name']})" for row in openvino["devices"])}
            if intel and not any(row["device"].startswith("GPU") for row in openvino["devices"]):
                yield "openvino-no-gpu", {}
    for row in render:
        if not row["usable"] and row.get("vendor") != "nvidia":
            yield "dri-rights", {"node": row["node"], "group": row.get("group") or "render"}
    if intel and not render and system.get("system") == "linux":
        yield "dri-absent", {}
    opencl = facts.get("opencl")
    if opencl is not None and intel:
        name = "opencl-no-loader" if not opencl.get("loader") else "opencl" if opencl.get("vendors") else "opencl-no-vendor"
        yield name, {"vendors": ", ".join(opencl.get("vendors", []))}


def _network(facts: Facts) -> Iterator[Found]:
    network = facts.get("network", {})
    if network.get("offline"):
        yield "net-offline", {}
    places = network.get("places", {})
    for name, row in places.items():
        values = {"name": name, "address": row["address"], "seconds": row.get("seconds"), "error": row.get("error")}
        yield "net-none" if row.get("error") else "net", values
    if places.get("hub", {}).get("error") and not network.get("endpoint") and "mirror" in places and not places["mirror"].get("error"):
        yield "net-mirror", {"mirror": places["mirror"]["address"]}
    if pip := network.get("pip"):
        yield "pip-index-none" if pip.get("error") else "pip-index", {"seconds": pip.get("seconds"), "error": pip.get("error")}


def peak(facts: Facts, device: str) -> float | None:
    """Thousand million float32 operations a second that a device cannot pass: cores x clock x operations a clock."""
    if device == "cpu":
        cpu = facts.get("cpu", {})
        cores = min(n for n in (cpu.get("usable"), cpu.get("physical"), facts.get("torch", {}).get("threads"), 1 << 20) if n)
        for vendor, family, models, flag, flops in rules.CPU_FLOPS:
            mine = cpu.get("vendor") == vendor and cpu.get("family") == family and (models is None or cpu.get("model") in models)
            if mine and flag in cpu.get("flags", ()) and cpu.get("mhz"):
                return cores * cpu["mhz"] / 1000 * flops
        return None
    row = next((r for r in facts.get("torch", {}).get("devices", []) if r["device"] == device), {})
    mhz = next((g.get("mhz") for g in facts.get("nvidia", {}).get("gpus", []) if g["name"] == row.get("name")), None)
    lanes = rules.FP32_LANES.get(row.get("capability", ""))
    return row["multiprocessors"] * lanes * 2 * mhz / 1000 if lanes and mhz else None


def _speed(facts: Facts) -> Iterator[Found]:
    for row in facts.get("torch", {}).get("speed", []):
        if "gflops" not in row:
            continue
        most = peak(facts, row["device"]) if row["dtype"] == "float32" else None
        values = {"device": row["device"], "what": [row["what"]], "dtype": row["dtype"], "gflops": f"{row['gflops']:,.0f}"}
        if most is None:
            yield "speed", values
        else:
            low = row["what"] == "matmul" and row["gflops"] < rules.SLOW * most
            yield "speed-low" if low else "speed-peak", {**values, "peak": f"{most:,.0f}", "percent": f"{100 * row['gflops'] / most:.0f}"}
