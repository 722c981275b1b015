"""A server under 32 clients: a share of what the model does alone in one process, and LitServe with the same run beside it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import inputs
from bench.measure import ROOT, Failed, alternately, fresh, listed
from bench.result import Line, Result, Setting

_GOAL = 0.85
_CLIENTS = 32
_BATCH = 16
_PATIENCE = 120.0  # seconds for a server to be there

_ALONE = """
import json, sys, time
from pathlib import Path
from liandan.runs.layout import Layout
from liandan.runtime.opened import open_run
run = open_run(Layout(Path(sys.argv[1])))
files = [file.read_bytes() for file in sorted(Path(sys.argv[2]).rglob("*.jpg"))]
batch, seconds = int(sys.argv[3]), float(sys.argv[4])
for span in (seconds / 10, seconds):
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < span:
        run.predict([files[(done + k) % len(files)] for k in range(batch)])
        done += batch
    took = time.perf_counter() - began
print(json.dumps({"rate": done / took, "p50": 1000 * took * batch / done}))
"""


def measure(setting: Setting) -> Result:
    """Images a second of the run alone, behind liandan and behind LitServe, in turn, in fresh processes."""
    side = setting.pick(224, 32)
    photos = inputs.photos(setting.folder / "photos", setting.pick(64, 16), side)
    run = _train(setting, photos, side)
    bodies = setting.folder / "bodies.jsonl"
    encoded = (base64.b64encode(file.read_bytes()).decode() for file in sorted(photos.rglob("*.jpg")))
    bodies.write_text("\n".join(json.dumps({"inputs": [f"data:image/jpeg;base64,{text}"]}) for text in encoded))
    seconds = setting.pick(20, 2)
    alone = ["-c", _ALONE, str(run), str(photos), str(_BATCH), str(seconds)]
    ours = ["-m", "liandan", "serve", str(run), "--batch-size", str(_BATCH), "--port"]
    sides = {
        "alone": lambda: fresh(alone, setting.folder),
        "liandan": lambda: _served(lambda port: [*ours, str(port)], "/ready", bodies, seconds, setting.folder),
        "LitServe": lambda: _served(
            lambda port: ["-m", "bench.peers.litserve", str(run), str(port), str(_BATCH)], "/health", bodies, seconds, setting.folder
        ),
    }
    return _result(alternately(sides, setting.rounds))


def _result(found: dict[str, list[dict[str, Any]]]) -> Result:
    rates = {name: [result["rate"] for result in results] for name, results in found.items()}
    top = {name: max(values) for name, values in rates.items()}
    best = {name: max(results, key=lambda result: result["rate"]) for name, results in found.items()}
    share = top["liandan"] / top["alone"]
    told = {name: f"{top[name]:.1f} images/s, p50 {best[name]['p50']:.0f} ms, p99 {best[name].get('p99', 0):.0f} ms" for name in found}
    what = f"{_CLIENTS} clients, one image a request"
    lines = [
        Line(
            f"{what} (peer: the run alone, batches of {_BATCH})", f"{top['alone']:.1f} images/s", told["liandan"], share,
            f"at least {_GOAL:g} of the run alone", share >= _GOAL, f"alone {listed(rates['alone'])}; liandan {listed(rates['liandan'])}",
        ),
        Line(f"{what} (peer: LitServe)", told["LitServe"], told["liandan"], top["liandan"] / top["LitServe"],
             rounds=f"LitServe {listed(rates['LitServe'])}; liandan {listed(rates['liandan'])}"),
    ]  # fmt: skip
    failed = {name: int(sum(result.get("failed", 0) for result in results)) for name, results in found.items()}
    notes = ["The clients run on the same cores as server and model, in a process of their own."]
    if any(failed.values()):
        notes.append("Answers other than 200: " + ", ".join(f"{name} {count}" for name, count in failed.items() if count) + ".")
    return Result(lines, notes)


def _train(setting: Setting, photos: Path, side: int) -> Path:
    """A run of one step: what it predicts does not matter, what it costs does."""
    import liandan

    steps = [{"name": "resize", "size": [side, side]}, "to_float", {"name": "normalize", "mean": [0.5] * 3, "std": [0.5] * 3}]
    values = {
        "version": 1, "task": "image_classification",
        "model": {"name": "liandan/lenet5"} if setting.quick else {"name": "timm/tf_efficientnet_lite0"},
        "data": {"train": str(photos), "val": None, "workers": 0, "transforms": {"train": steps, "eval": steps}},
        "optimizer": {"name": "sgd", "lr": 0.01}, "train": {"duration": {"steps": 1}, "batch_size": 8},
        "run": {"dir": str(setting.folder / "run")},
    }  # fmt: skip
    return liandan.train(liandan.recipe.make_recipe(values)).path


def _served(command: Any, ready: str, bodies: Path, seconds: float, folder: Path) -> dict[str, Any]:
    """What 32 clients see of a server that is begun for them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with _running(command(port), folder):
        ends = time.monotonic() + _PATIENCE
        while not _answers(port, ready):
            if time.monotonic() > ends:
                raise Failed(f"{command(port)} was not ready within {_PATIENCE:.0f} s: {(folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.1)
        return fresh(["-m", "bench.clients", str(port), str(bodies), str(_CLIENTS), str(seconds)], folder)


@contextlib.contextmanager
def _running(arguments: Sequence[str], folder: Path) -> Iterator[None]:
    """A process with all that it starts, which ends with the block."""
    with (folder / "server.log").open("wb") as log:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, *arguments]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int, path: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(64).split()[1:2] == [b"200"]
    except OSError:
        return False
