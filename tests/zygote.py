"""Children that are cheap to kill: forked from a process that has imported torch and started no threads.

The server (this file run as a program) reads one JSON request a line, {argv, cwd, env, output, before}, forks, and answers with the
child's pid; when the child ends, its exit code follows on a line of its own. The child is a real process with real signals; it
differs from `python -m liandan ...` only in that torch was imported before it was born.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DEADLINE = 300.0  # seconds: generous, a busy machine must not fail a test


def serve() -> None:
    """Fork a child for each request until standard input ends."""
    import signal

    # what a run imports on its way, once for all children
    import matplotlib.figure  # noqa: F401
    import timm  # noqa: F401
    import tokenizers  # noqa: F401
    import torch
    import torch.utils.tensorboard  # noqa: F401
    import torchmetrics.functional.classification  # noqa: F401
    import torchvision  # noqa: F401

    import liandan.engine.session
    import liandan.runtime.opened
    import liandan.tasks.gan
    import liandan.tasks.image_classification
    import liandan.tasks.language_model  # noqa: F401
    from liandan.runs import plots

    with tempfile.TemporaryDirectory() as folder:  # the first drawing finds the fonts, which takes longer than all the others
        plots.curves([{"step": 1, "train/loss": 1.0}, {"step": 2, "train/loss": 0.5}], Path(folder) / "curves.png")

    threads = len(os.listdir("/proc/self/task"))
    assert threads == 1, f"the parent has {threads} threads; forking it would not be safe"
    children: dict[int, None] = {}
    # the wake-up pipe lets one loop wait for requests and for children
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    import select

    print(json.dumps({"ready": True}), flush=True)
    pending = b""
    while True:
        ready, _, _ = select.select([0, reader], [], [])
        if reader in ready:
            os.read(reader, 4096)
            for pid in list(children):
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    del children[pid]
                    print(json.dumps({"pid": pid, "code": os.waitstatus_to_exitcode(status)}), flush=True)
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    child(json.loads(line))
                children[pid] = None
                print(json.dumps({"pid": pid, "started": True}), flush=True)


def child(request: dict[str, Any]) -> None:
    """Become the command; never returns."""
    import signal

    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        out = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.setsid()
        os.chdir(request["cwd"])
        os.environ.update(request["env"])
        for name in request.get("before", []):
            import importlib

            module, _, function = name.partition(":")
            getattr(importlib.import_module(module), function)()
        sys.argv = ["liandan", *request["argv"]]
        from liandan.cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


class Child:
    """A forked `liandan ...`: its pid, its output so far, its end."""

    def __init__(self, pid: int, output: Path) -> None:
        self.pid, self.output = pid, output
        self._code: int | None = None
        self._ended = threading.Event()

    def text(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace") if self.output.exists() else ""

    def signal(self, number: int) -> None:
        if not self._ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, deadline: float = DEADLINE) -> int:
        """The exit code; negative for the signal that killed it."""
        if not self._ended.wait(deadline):
            self.signal(9)
            raise TimeoutError(f"the child did not end within {deadline} s; it said:\n{self.text()}")
        assert self._code is not None
        return self._code

    @property
    def ended(self) -> bool:
        return self._ended.is_set()


class Zygote:
    """The parent of children, one a test session."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )
        self.started: queue.Queue[int] = queue.Queue()
        self.children: dict[int, Child] = {}
        self.early: dict[int, int] = {}
        self.lock = threading.Lock()
        self.ready = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        while not self.ready.wait(0.1):
            assert self.process.poll() is None, "the zygote did not start; its words are above"

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            if message.get("ready"):
                self.ready.set()
            elif message.get("started"):
                self.started.put(message["pid"])
            else:
                with self.lock:
                    known = self.children.get(message["pid"])
                    if known is None:
                        self.early[message["pid"]] = message["code"]
                    else:
                        known._code = message["code"]
                        known._ended.set()

    def start(self, *argv: str, cwd: Path, env: dict[str, str] | None = None, before: list[str] | None = None) -> Child:
        """Fork a child that runs `liandan argv` in `cwd`; `before` names functions "module:function" called in it first."""
        cwd.mkdir(parents=True, exist_ok=True)
        output = cwd / f"output-{time.monotonic_ns()}.txt"
        request = {"argv": list(argv), "cwd": str(cwd), "env": env or {}, "output": str(output), "before": before or []}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        pid = self.started.get(timeout=DEADLINE)
        made = Child(pid, output)
        with self.lock:
            self.children[pid] = made
            if pid in self.early:
                made._code = self.early.pop(pid)
                made._ended.set()
        return made

    def run(self, *argv: str, cwd: Path, env: dict[str, str] | None = None, before: list[str] | None = None) -> Child:
        """Start and wait."""
        started = self.start(*argv, cwd=cwd, env=env, before=before)
        started.wait()
        return started

    def close(self) -> None:
        """End what is left, a child that a failed test has left standing still too."""
        assert self.process.stdin is not None
        for child in self.children.values():
            child.signal(9)
        self.process.stdin.close()
        self.process.wait(DEADLINE)


@contextlib.contextmanager
def zygote() -> Iterator[Zygote]:
    """A zygote for the length of a test session."""
    made = Zygote()
    try:
        yield made
    finally:
        made.close()


if __name__ == "__main__":
    serve()
