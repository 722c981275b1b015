"""Memory of a run, its data workers included, at the end of each of three epochs."""

from __future__ import annotations

import json
import os
from pathlib import Path

from bench import inputs
from bench.measure import fresh, listed
from bench.result import Line, Result, Setting

_GROWTH = 1.03  # the end of epoch 3 over the end of epoch 1 that is still called flat


def resident(pid: int | None = None) -> int:
    """Resident bytes of this process and its children, added: a page that several of them map counts in each."""
    pid = pid or os.getpid()
    total = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            try:
                total += resident(int(child))
            except (FileNotFoundError, ProcessLookupError, PermissionError):  # it has ended meanwhile
                continue
    return total


def peak() -> int:
    """The most bytes that were resident of this process at one time."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # getrusage would count what the parent held when it forked
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def measure(setting: Setting) -> Result:
    """Class folders of JPEG files, decoded and augmented at every visit by two workers, with an evaluation and a checkpoint an epoch."""
    count, batch = setting.pick(400, 80), 16
    photos = inputs.photos(setting.folder / "photos", count, setting.pick(320, 96))
    steps = -(-int(count * 0.8) // batch)
    size = setting.pick(128, 64)
    recipe = {
        "version": 1, "task": "image_classification",
        "data": {"train": str(photos), "workers": 2, "val": {"hold_out": 0.2}, "transforms": {
            "train": [{"name": "random_resized_crop", "size": [size, size]}, "random_horizontal_flip", "random_autocontrast"],
            "eval": [{"name": "resize", "size": [size, size]}],
        }},
        "model": {"name": "torchvision/mobilenet_v3_small"},
        "train": {"duration": {"steps": 3 * steps + 2}, "batch_size": batch}, "run": {"dir": str(setting.folder / "run")},
    }  # fmt: skip
    request = setting.folder / "request.json"
    ends = [steps * epoch + 1 for epoch in (1, 2, 3)]  # the first step after the evaluation and the checkpoint
    request.write_text(json.dumps({"recipe": recipe, "marks": ends, "stop": None, "resume": False}), encoding="utf-8")
    found = fresh(["-m", "bench.ours", request], setting.folder)
    memory = [found["steps"][str(end)]["memory"] / 2**20 for end in ends]
    growth = memory[2] / memory[0]
    return Result([
        Line(
            f"memory at the ends of epochs 1, 2, 3 ({count} JPEG files, augmented)", "", " / ".join(f"{m:,.0f}" for m in memory) + " MiB",
            goal=f"flat: epoch 3 at most {_GROWTH} of epoch 1 (here {growth:.3f})", met=growth <= _GROWTH, rounds=listed(memory, 5),
        ),
    ])  # fmt: skip
