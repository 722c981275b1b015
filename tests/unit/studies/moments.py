"""Called in a child before its command."""

from __future__ import annotations

import os
import signal
from typing import Any


def in_second_fold() -> None:
    """A signal in the middle of the second run."""
    from liandan.engine import train

    ours, seen = train.make_step, []

    def make_step(parts: Any, state: Any, batches: Any) -> None:
        if state.progress.step == 5:
            seen.append(parts)
            if len(seen) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
        ours(parts, state, batches)

    train.make_step = make_step
