"""Exact moments: functions called in a child before its command, after which it stops itself (SIGSTOP) where a test wants to act.

What then happens to it is real: a signal sent to a stopped process waits and arrives the instant it goes on. $MOMENT is the number of
steps made by then, or several: "5,9".
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.zygote import DEADLINE, Child


def _halt() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _moments() -> list[int]:
    return [int(number) for number in os.environ["MOMENT"].split(",")]


def _before_step(act: Callable[[], None]) -> None:
    from liandan.engine import train

    ours = train.make_step

    def make_step(parts: Any, state: Any, batches: Any) -> None:
        if state.progress.step in _moments():
            act()
        ours(parts, state, batches)

    train.make_step = make_step


def at_step() -> None:
    """Stop between two steps."""
    _before_step(_halt)


def die_at_step() -> None:
    """Be killed between two steps, as by `kill -9`."""
    _before_step(lambda: os.kill(os.getpid(), signal.SIGKILL))


def at_birth() -> None:
    """Stop when the run has its directory and its lock, and has written nothing into it yet."""
    from liandan.engine.session import Session

    ours = Session.new_parts

    def new_parts(self: Session) -> Any:
        _halt()
        return ours(self)

    Session.new_parts = new_parts


def in_evaluation() -> None:
    """Stop in the middle of the evaluation that follows a step: its second batch is being judged."""
    from liandan.engine import train

    ours = train.judge

    def judge(run: Any) -> dict[str, float]:
        if run.state.progress.step not in _moments():
            return ours(run)
        task, batches = run.parts.task, []
        judged = task.judge

        def halting(outputs: Any, batch: Any) -> Any:
            batches.append(batch)
            if len(batches) == 2:
                _halt()
            return judged(outputs, batch)

        task.judge = halting
        try:
            return ours(run)
        finally:
            del task.judge

    train.judge = judge


def in_save() -> None:
    """Stop in the middle of a checkpoint: one of its files is written, the others and the manifest are not."""
    from liandan.runs import tensors

    ours, halted = tensors.write, []

    def write(path: Path, shard: Any) -> dict[str, Any]:
        entry = ours(path, shard)
        if path.parent.name in [f"step-{number:08d}.tmp" for number in _moments()] and not halted:
            halted.append(path)
            _halt()
        return entry

    tensors.write = write


# --- the test's side ---------------------------------------------------------------------------------------------------------------


def state_of(pid: int) -> str:
    """The letter of a process's state ("T": stopped, "Z": dead and not yet waited for), "" when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children_of(pid: int) -> list[int]:
    """Living child processes, in the order of their pids."""
    try:
        found = [int(p) for task in Path(f"/proc/{pid}/task").iterdir() for p in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return sorted(p for p in found if state_of(p) not in ("", "Z"))


def until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """The first true answer of `condition`."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.005)
    raise TimeoutError(f"waited {deadline} s for {what}")


def until_halted(child: Child) -> None:
    """Wait until the child stands still at its moment."""
    until(lambda: child.ended or state_of(child.pid) == "T", "a child to come to its moment")
    assert not child.ended, f"the child ended before its moment:\n{child.text()}"
