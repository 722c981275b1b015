"""Ctrl-C and its kin: a run stops at a step boundary with a complete checkpoint; a second signal ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

_STOPPING = [s for s in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, s)]  # USR1: a scheduler's notice that time is up


class Stop:
    """Context in which the first signal is remembered and the second one exits. Outside of the main thread it does nothing."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._former: dict[int, object] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._former = {getattr(signal, name): signal.signal(getattr(signal, name), self._handle) for name in _STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            signal.signal(number, former)  # pyright: ignore[reportArgumentType]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            os._exit(self.exit_code)
        self.received = number

    @property
    def exit_code(self) -> int:
        """130 for SIGINT, 143 for the others."""
        return 130 if self.received == signal.SIGINT else 143
