"""liandan in a process of its own: trains by a recipe and prints when steps ended, as JSON.

python -m bench.ours REQUEST.json, which holds
    recipe   values of the recipe
    marks    steps after which the clock and the memory are read (the first step of the process always is)
    stop     step after which the process is interrupted, as by Ctrl-C, or null
    resume   go on where run.dir was left
Times are seconds since BENCH_STARTED, the monotonic clock when the process was ordered; memory is in bytes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from bench.memory import peak, resident


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    started = float(os.environ["BENCH_STARTED"])
    found: dict[str, Any] = {"steps": {}, "notes": []}
    marks = set(request["marks"])

    def watch(event: dict[str, Any]) -> None:
        if "note" in event:
            found["notes"].append(event["note"])
        elif "begin" in event:
            found["begin"] = time.monotonic() - started
        elif "evaluated" in event:
            found["evaluation"] = found.get("evaluation", time.monotonic() - started)  # the first batch that was judged
        elif "step" in event:
            if event["step"] in marks or not found["steps"]:
                found["steps"][event["step"]] = {"seconds": time.monotonic() - started, "memory": resident()}
            if event["step"] == request["stop"]:
                os.kill(os.getpid(), signal.SIGINT)

    from liandan.engine import session
    from liandan.recipe import load_recipe, make_recipe

    outcome = session.start(make_recipe(request["recipe"]), resume=request["resume"], watch=watch)
    resolved = load_recipe(outcome.layout.resolved)
    found |= {"metrics": outcome.metrics, "precision": resolved.train.precision, "compile": resolved.train.compile, "peak": peak()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
