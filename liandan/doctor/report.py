"""The doctor's whole answer as text and exit code, for both ways to start it: the file by its path, and `liandan doctor`."""

from __future__ import annotations

import json
import os
import shutil
import sys

from liandan.doctor import show
from liandan.doctor.facts import facts
from liandan.doctor.install import plan
from liandan.doctor.judge import judge, verdict


def report(as_json: bool = False, install: bool = False) -> tuple[str, int]:
    """Look, judge, and tell: (text for standard output, exit code: 1 when a finding is a FAIL).

    Args:
        as_json: facts and findings as JSON, and nothing else.
        install: only the commands that install liandan here; they are not run.
    """
    tongue = show.language()
    found = facts(time_devices=not install)
    if install:
        planned = plan(found, tongue)
        return json.dumps(planned, ensure_ascii=False, indent=2) if as_json else "\n".join(show.installing(planned)), 0
    findings = judge(found, tongue)
    worst = verdict(findings)
    if as_json:
        text = json.dumps({"verdict": worst, "findings": findings, "facts": found}, ensure_ascii=False, indent=2)
    else:
        color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        text = "\n".join(show.lines(findings, tongue, color, shutil.get_terminal_size().columns))
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, errors="replace").decode(encoding), int(worst == "fail")
