"""All facts of this machine, as one dict of plain values. A part that is missing means that nobody looked, and is not judged."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from liandan.doctor import cpu, gpu, network, probe, software


def facts(time_devices: bool = True) -> dict[str, Any]:
    """Look at everything. Takes seconds: the network and the frameworks are asked at the same time.

    Args:
        time_devices: import torch and OpenVINO (in processes of their own), ask for their devices and time them.
    """
    found: dict[str, Any] = {
        "system": software.system(), "python": software.python(), "cpu": cpu.cpu(), "memory": cpu.memory(), "disk": software.disk(),
        "shm": software.shm(), "packages": software.packages(), "cards": gpu.cards(), "render": gpu.render_nodes(), "opencl": gpu.opencl(),
        "library_path": os.environ.get("LD_LIBRARY_PATH") or None,
    }  # fmt: skip
    versions = found["packages"]["versions"]
    threads = 0 if found["cpu"]["omp_num_threads"] else found["cpu"]["usable"]
    with ThreadPoolExecutor() as pool:
        later = {"network": pool.submit(network.network), "nvidia": pool.submit(gpu.nvidia), "cudnn": pool.submit(gpu.cudnn)}
        for framework in ("torch", "openvino"):
            if time_devices and framework in versions:
                later[framework] = pool.submit(probe.ask, framework, threads)
        found.update({name: answer.result() for name, answer in later.items()})
    return found
