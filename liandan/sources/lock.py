"""One process at a time, by a lock of the operating system: it ends with its holder, however that dies."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from liandan.sources.entry import Progress

_POLL_SECONDS = 0.1


@contextmanager
def lock(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock file `path`; waits for another holder, in this process or another, and says so once.

    A file system without locks (some network ones) is let through: publishing is atomic, so two makers then only do the work twice.
    """
    with open(path, "ab") as file:
        told = False
        while not _try(file.fileno()):
            if not told:
                progress("wait for another process that makes the same", 0, None)
                told = True
            time.sleep(_POLL_SECONDS)
        yield  # closing the file lets go


def _try(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
    return True
