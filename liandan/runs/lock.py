"""One writer to a run: a POSIX record lock on the file `lock`, which says who holds it.

The kernel releases the lock when the process dies, however it dies, so nothing goes stale and no clock is asked. A record lock is
not inherited by fork: data workers that outlive a killed trainer do not keep the run locked (flock and open-file-description locks
would). Its one trap: closing *any* descriptor of the file releases it, so within the holding process this module alone may open it.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from liandan.runs.layout import Layout, RunError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_held: dict[tuple[int, str], dict[str, Any]] = {}
_BUSY = (errno.EACCES, errno.EAGAIN)
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
_PATIENCE = 0.5


class LockHeld(RunError):
    """Another process writes this run; `pid`, `host` and `started` are its own words, None where it has not written them yet."""

    def __init__(self, layout: Layout, holder: dict[str, Any]) -> None:
        self.pid, self.host, self.started = (holder.get(key) for key in ("pid", "host", "started"))
        who = f"process {self.pid} on {self.host} (since {self.started})" if self.pid else "another process"
        super().__init__(f"the run {layout.root} is being written by {who}; wait for it, stop it, or choose another run.dir")


@contextmanager
def lock(layout: Layout) -> Iterator[None]:
    """Hold the run while it is written. Raises LockHeld (exit code 3 of the command line), RunError when the file cannot be opened."""
    key = _key(layout)
    if key in _held:
        raise LockHeld(layout, _held[key])
    try:
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    except OSError as error:
        advice = "make it writable for this user, or choose another run.dir"
        raise RunError(f"cannot lock the run: {layout.lock}: {error.strerror}; {advice}") from error
    try:
        _acquire(layout, descriptor)
        if not _is_ours(layout, descriptor):
            raise RunError(f"the run directory {layout.root} was taken away while this process waited for it; start again")
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        _held[key] = {"pid": os.getpid(), "host": socket.gethostname(), "started": started}
        _write(layout, descriptor, json.dumps(_held[key]).encode() + b"\n")
        yield
    finally:
        if _held.pop(key, None) is not None and key[0] == os.getpid():  # a forked child that unwinds holds nothing
            # Emptied, never deleted: a file deleted here could be one that another process has just locked.
            os.ftruncate(descriptor, 0)
        os.close(descriptor)


def holder(layout: Layout) -> dict[str, Any] | None:
    """{"pid", "host", "started"} of the process that writes this run now; None when nobody does. Values may be absent."""
    mine = _held.get(_key(layout))
    if mine is not None:
        return mine
    if fcntl is None:
        return None
    try:
        descriptor = os.open(layout.lock, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except OSError as error:
        return _read(descriptor) if error.errno in _BUSY else None
    finally:
        os.close(descriptor)


def _acquire(layout: Layout, descriptor: int) -> None:
    """Take the lock. Tries for half a second, since `holder` in another process takes it for an instant when it looks."""
    if fcntl is None:
        return
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return  # a file system without locks: training there unguarded is better than not at all
            if error.errno not in _BUSY:
                raise RunError(f"cannot lock {layout.lock}: {error.strerror}") from error
            if time.monotonic() > deadline:
                raise LockHeld(layout, _read(descriptor)) from None
        time.sleep(0.02)


def _is_ours(layout: Layout, descriptor: int) -> bool:
    """Whether the file that was locked is still the one others will find: a run that never began takes its directory with it."""
    try:
        return os.path.samestat(os.stat(layout.lock), os.fstat(descriptor))
    except OSError:
        return False


def _write(layout: Layout, descriptor: int, content: bytes) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)
    except OSError as error:
        raise RunError(f"cannot write {layout.lock}: {error.strerror}") from error


def _read(descriptor: int) -> dict[str, Any]:
    """What the holder wrote; empty while it has only just taken the lock."""
    try:
        value = json.loads(os.pread(descriptor, 4096, 0))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _key(layout: Layout) -> tuple[int, str]:
    # The process is part of the key because a forked child inherits this table, but not the lock.
    return os.getpid(), os.path.realpath(layout.lock)
