"""Ask a framework about its devices, and time them: `python -P probe.py torch|openvino THREADS` prints one line of JSON.

In a process of its own, because importing a broken framework may end the process. The only file of the doctor that imports one.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

_ROUNDS = 5
_MARK = "liandan-probe "


def torch_facts(threads: int) -> dict[str, Any]:
    """Version, CUDA, cuDNN, architectures, devices, speed."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    facts: dict[str, Any] = {
        "version": torch.__version__, "cuda": torch.version.cuda, "hip": torch.version.hip, "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(), "archs": torch.cuda.get_arch_list(), "cudnn": None,
        "cuda_available": torch.cuda.is_available(),
        "mps_built": torch.backends.mps.is_built(), "mps_available": torch.backends.mps.is_available(),
        "xpu_built": getattr(torch.version, "xpu", None) is not None, "xpu_available": hasattr(torch, "xpu") and torch.xpu.is_available(),
        "devices": [], "speed": [],
    }  # fmt: skip
    if facts["cuda_available"]:
        torch.backends.cudnn.allow_tf32 = False  # float32 is timed as float32, as matrix products are
        try:
            facts["cudnn"] = torch.backends.cudnn.version()
        except RuntimeError as error:  # another cuDNN was loaded in the place of torch's own
            facts["cudnn_error"] = str(error)
        for index in range(torch.cuda.device_count()):
            found = torch.cuda.get_device_properties(index)
            facts["devices"].append({
                "device": f"cuda:{index}", "name": found.name, "capability": f"{found.major}.{found.minor}", "memory": found.total_memory,
                "multiprocessors": found.multi_processor_count,
            })  # fmt: skip
    if facts["xpu_available"]:
        for index in range(torch.xpu.device_count()):
            found = torch.xpu.get_device_properties(index)
            facts["devices"].append({"device": f"xpu:{index}", "name": found.name, "memory": found.total_memory})
    if facts["mps_available"]:
        facts["devices"].append({"device": "mps", "name": "mps"})
    for device in ("cpu", *(row["device"] for row in facts["devices"])):
        for what, dtype in (("matmul", "float32"), ("convolution", "float32"), ("matmul", "bfloat16")):
            row: dict[str, Any] = {"device": device, "what": what, "dtype": dtype}
            try:
                row["gflops"] = round(_speed(torch, device, what, getattr(torch, dtype)), 1)
            except (RuntimeError, TypeError) as error:  # no kernel for this card, no memory, no bfloat16: a fact like any other
                row["error"] = str(error).splitlines()[0][:200]
            facts["speed"].append(row)
    return facts


def _speed(torch: Any, device: str, what: str, dtype: Any) -> float:
    """Thousand million operations a second, the best of a few rounds after one to warm up."""
    big = device != "cpu"
    if what == "matmul":
        n = 4096 if big else 1024
        a, b = torch.randn(n, n, device=device, dtype=dtype), torch.randn(n, n, device=device, dtype=dtype)
        operations = 2 * n**3
        work: Callable[[], Any] = lambda: a @ b  # noqa: E731
    else:
        batch, channels, side = (64 if big else 8), 64, 56
        image = torch.randn(batch, channels, side, side, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        kernel = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        operations = 2 * batch * side * side * channels * channels * 9
        work = lambda: torch.nn.functional.conv2d(image, kernel, padding=1)  # noqa: E731
    kind, _, index = device.partition(":")
    wait = functools.partial(getattr(torch, kind).synchronize, *([int(index)] if index else [])) if big else lambda: None
    seconds = []
    with torch.no_grad():
        for _ in range(_ROUNDS + 1):
            begun = time.perf_counter()
            work()
            wait()
            seconds.append(time.perf_counter() - begun)
    return operations / min(seconds[1:]) / 1e9


def openvino_facts(_: int) -> dict[str, Any]:
    """OpenVINO's devices and their full names."""
    import openvino  # pyright: ignore[reportMissingImports]

    core = openvino.Core()
    return {"devices": [{"device": name, "name": str(core.get_property(name, "FULL_DEVICE_NAME"))} for name in core.available_devices]}


def ask(framework: str, threads: int, seconds: float = 180.0) -> dict[str, Any]:
    """What the probe of a framework tells, or {"error": why it does not}."""
    from liandan.doctor.programs import run

    code, text = run(sys.executable, "-P", __file__, framework, str(threads), seconds=seconds)  # -P: this folder's names are not packages
    for line in reversed(text.splitlines()):
        if code == 0 and line.startswith(_MARK):
            return json.loads(line.removeprefix(_MARK))
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
    return {"error": last[:300] or f"its process ended with code {code}"}


if __name__ == "__main__":
    probes = {"torch": torch_facts, "openvino": openvino_facts}
    print(_MARK + json.dumps(probes[sys.argv[1]](int(sys.argv[2]))))
