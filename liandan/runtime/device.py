"""Placement, precision, processes: the only file that knows of accelerators and of torch.distributed."""

from __future__ import annotations

import collections
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from liandan import memory
from liandan.doctor.cpu import usable_cores

T = TypeVar("T")
DTYPES = {"fp64": torch.float64, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# of memory that ran out on a CPU: torch's allocator on Linux and Windows, C++'s own, and oneDNN's, which says no more than this
_SIGNS = ("can't allocate memory", "not enough memory", "bad_alloc", "could not create a primitive", "could not create a memory")
_LARGE = 1_000_000  # parameters below which casting costs more than bfloat16 saves on a CPU


@dataclass(frozen=True)
class Choice:
    """What `auto` became, and the rule that chose it."""

    value: Any
    reason: str


def choose_device(wanted: str) -> Choice:
    """`auto` is CUDA, then XPU, then MPS, then the CPU."""
    if wanted != "auto":
        try:
            torch.empty(0, device=wanted)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(
                f'device: expected a device this machine has, got "{wanted}" ({str(error).splitlines()[0]}); "auto" finds one'
            ) from error
        return Choice(wanted, "asked for")
    for name in ("cuda", "xpu", "mps"):
        module = getattr(torch, name, None)
        if module is not None and module.is_available():
            return Choice(name, f"{name} is available")
    return Choice("cpu", "no accelerator found")


def fast_bfloat16(device: str) -> bool:
    """Whether the processor multiplies bfloat16 faster than float32."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def choose_precision(device: str, model: nn.Module) -> Choice:
    """bf16 where the processor multiplies it fast and the model is large enough to gain, else fp32."""
    size = sum(p.numel() for p in model.parameters())
    if not fast_bfloat16(device):
        return Choice("fp32", f"{device} has no fast bfloat16")
    if device == "cpu" and size < _LARGE:
        return Choice("fp32", f"{size:,} parameters are too few to gain from bfloat16")
    return Choice("bf16", "the processor multiplies bfloat16" if device == "cpu" else f"{device} has bfloat16 units")


class Device:
    """One process's device among `world` processes; every method is collective unless it says otherwise.

    Args:
        name: torch device, such as "cpu" or "cuda".
        precision: fp64, fp32, bf16 (autocast) or fp16 (autocast with a loss scale).
    """

    def __init__(self, name: str = "cpu", precision: str = "fp32") -> None:
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if name == "cuda" and self.world > 1:
            name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
            torch.cuda.set_device(name)
        self.name, self.precision = name, precision
        self.kind = name.partition(":")[0]
        if self.world > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if self.kind == "cuda" else "gloo")
        self.clock = Clock(self.kind)
        self.scaler = torch.amp.GradScaler(self.kind, enabled=precision == "fp16")

    @property
    def main(self) -> bool:
        """Whether this process writes (not collective)."""
        return self.rank == 0

    def place(self, model: nn.Module) -> nn.Module:
        """The model on the device in its storage type; convolutions in channels-last, which their kernels prefer."""
        model = model.to(self.name, torch.float64 if self.precision == "fp64" else None)
        if any(isinstance(m, nn.Conv2d) for m in model.modules()):
            model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        return model

    def move(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch's tensors on the device, images channels-last, floats in double where the run is fp64 (not collective)."""

        def placed(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if self.precision == "fp64" and value.is_floating_point():
                value = value.double()
            value = value.to(self.name, non_blocking=True)
            return value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value

        return {k: placed(v) for k, v in batch.items()}

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of forward passes (not collective)."""
        if self.precision in ("bf16", "fp16"):
            return torch.autocast(self.kind, dtype=DTYPES[self.precision])
        return nullcontext()

    def seed(self, key: int) -> None:
        """Seed the generators this process draws from: the CPU's and its device's (not collective).

        torch.manual_seed would also take note of every accelerator there is no use for here, each time with a stack trace: a fifth
        of a millisecond a step.
        """
        torch.default_generator.manual_seed(key)
        if self.kind == "cuda":
            torch.cuda.manual_seed_all(key)
        elif self.kind != "cpu":
            torch.manual_seed(key)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Elementwise float64 sum over processes."""
        if self.world == 1:
            return [float(v) for v in values]
        total = torch.tensor([float(v) for v in values], dtype=torch.float64, device=self.name)
        dist.all_reduce(total)
        return total.tolist()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        return flag if self.world == 1 else self.sum([flag])[0] > 0

    def gather(self, thing: Any) -> list[Any]:
        """The object of every process, in rank order. Only this run's own processes are heard, on the process group they formed."""
        if self.world == 1:
            return [thing]
        out: list[Any] = [None] * self.world
        dist.all_gather_object(out, thing)
        return out

    def reduce(self, tensors: list[Tensor]) -> None:
        """Sum tensors over processes in place, in one message a type."""
        if self.world == 1 or not tensors:
            return
        for dtype in {t.dtype for t in tensors}:
            same = [t for t in tensors if t.dtype == dtype]
            flat = torch.cat([t.flatten() for t in same])
            dist.all_reduce(flat)
            for t, piece in zip(same, flat.split([t.numel() for t in same]), strict=True):
                t.copy_(piece.view_as(t))

    def release(self) -> None:
        """Hand the memory that nothing holds back to the system, now and from here on (not collective)."""
        if self.kind == "cuda":
            torch.cuda.empty_cache()
        memory.return_freed()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Leave the process group; without it some backends exit non-zero. After an error nobody is waited for."""
        if self.world > 1 and dist.is_initialized():
            if error is None:
                dist.barrier()
            dist.destroy_process_group()


class Clock:
    """Where the time of steps goes, by part: the processor's own time on a CPU, on CUDA the device's, by events that nobody waits for.

    On any other accelerator there is no such measure: work is only handed over there, and the clock stays silent.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind if kind in ("cpu", "cuda") else ""
        self.steps = 0
        self.totals: dict[str, float] = {}
        self._before: Any = None
        self._open: collections.deque[tuple[str, Any, Any]] = collections.deque()  # events the device may not have reached yet

    def waiting(self, batches: Iterator[T]) -> Iterator[T]:
        """The batches of each step; the time until each is there counts as data."""
        started = time.perf_counter()
        for batch in batches:
            self.steps += 1
            self.totals["data"] = self.totals.get("data", 0.0) + time.perf_counter() - started
            yield batch
            started = time.perf_counter()

    def start(self) -> None:
        """What is measured next begins now."""
        self._before = self._now()

    def lap(self, part: str) -> None:
        """What was measured since `start` or the lap before belongs to `part`."""
        now = self._now()
        if self.kind == "cpu":
            self.totals[part] = self.totals.get(part, 0.0) + now - self._before
        elif self.kind == "cuda":
            self._open.append((part, self._before, now))
            self._read()
        self._before = now

    def take(self) -> dict[str, float]:
        """{"time/<part>": mean seconds a step since the last call, to three digits}; empty where nothing was made or measured."""
        self._read()
        measured = self.totals if self.steps and self.kind else {}
        means = {f"time/{part}": float(f"{total / self.steps:.3g}") for part, total in measured.items()}
        self.steps, self.totals = 0, {}
        return means

    def _now(self) -> Any:
        if self.kind != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _read(self) -> None:
        while self._open and self._open[0][2].query():
            part, before, after = self._open.popleft()
            self.totals[part] = self.totals.get(part, 0.0) + before.elapsed_time(after) / 1000


def launch(processes: int, arguments: list[str]) -> int:
    """Run `liandan <arguments>` in several processes of this machine under torchrun's launcher; returns their exit code.

    Signals sent to this process reach every one of them once; all stop at the same step boundary.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id="liandan", max_restarts=0, monitor_interval=0.1,
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", signals_to_handle="SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",
    )  # fmt: skip
    try:
        elastic_launch(config, sys.executable)("-m", "liandan", *arguments)
    except ChildFailedError as failed:
        first = min(failed.failures.values(), key=lambda f: f.timestamp)
        return first.exitcode if first.exitcode > 0 else 128 - first.exitcode
    except SignalException as stopped:
        return 143 if stopped.sigval == getattr(signal, "SIGUSR1", None) else 128 + int(stopped.sigval)  # as one process alone ends
    return 0


def launched() -> bool:
    """Whether this process is one of several that a launcher started."""
    return "WORLD_SIZE" in os.environ and "RANK" in os.environ


def out_of_memory(error: BaseException) -> str:
    """The first line of an error that says that memory ran out, else ""."""
    # torch.OutOfMemoryError is a RuntimeError; on a CPU it is the plain kind
    told = isinstance(error, torch.OutOfMemoryError | MemoryError)
    if told or (isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)):
        return str(error).partition("\n")[0] or type(error).__name__
    return ""


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes; the device's own memory on CUDA."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
