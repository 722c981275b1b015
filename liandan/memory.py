"""What glibc's malloc does with memory that is freed. Other C libraries are left as they are."""

from __future__ import annotations

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h; setting either ends glibc's own adjustment of both


def keep_freed() -> None:
    """Keep what a step frees for the next step, which asks for the same again.

    glibc would hand back whatever is free at the end of the heap as soon as it is large, and each step would wait for the system to
    fill the same pages with zeros anew: some 8 % of the time of a small GPT. Blocks above 32 MiB, the most that glibc lets into the
    heap, are handed back still, so what a process takes at its peak hardly grows.
    """
    _set(32 << 20, 1 << 30)


def return_freed() -> None:
    """Hand back what is free, from here on at once: large blocks outside of the heap, where the gaps between them would add up."""
    _set(128 << 10, 128 << 10)  # glibc's own defaults, from then on fixed
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _set(mmap_threshold: int, trim_threshold: int) -> None:
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        libc = ctypes.CDLL(None)
        if libc.mallopt(_MMAP_THRESHOLD, mmap_threshold):
            libc.mallopt(_TRIM_THRESHOLD, trim_threshold)
