"""Limits: functions called in a child before its command, which take away what a program is used to having."""

from __future__ import annotations

import ctypes
import os
import resource

_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2  # linux/capability.h
_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3


def no_override() -> None:
    """Permissions count, for root as for anybody else. (Another user could not read the tests' own folders.)"""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; low half, then high half
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    for i in range(3):
        sets[i] &= ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH)
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


def file_size() -> None:
    """No file may be longer than $FILE_SIZE bytes: a write beyond it fails as a full disk does, wherever the file lies."""
    size = int(os.environ["FILE_SIZE"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def address_space() -> None:
    """At most $ADDRESS_SPACE bytes of memory beyond what the process has now."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + int(os.environ["ADDRESS_SPACE"]), resource.RLIM_INFINITY))
