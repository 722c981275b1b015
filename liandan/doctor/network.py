"""Which of the places that data, weights and packages come from answer. All are asked at once; nobody is waited for long."""

from __future__ import annotations

import os
import re
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from liandan.doctor.programs import run
from liandan.doctor.rules import ADDRESSES

SECONDS = 3.0
_PIP_SECONDS = 15.0  # pip itself waits SECONDS for the network; the rest is for it to start


def network() -> dict[str, Any]:
    """Whether each address answers, in how many seconds; what is set about the network."""
    addresses = dict(ADDRESSES)
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
    if endpoint:
        addresses["hub"] = endpoint
    facts: dict[str, Any] = {
        "offline": os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"),
        "endpoint": without_password(endpoint) or None,
        "proxies": {scheme: without_password(address) for scheme, address in urllib.request.getproxies().items()},
        "places": {},
    }
    asked: list[tuple[str, dict[str, Any], threading.Thread]] = []
    for name, address in addresses.items() if not facts["offline"] else ():
        answer: dict[str, Any] = {}
        thread = threading.Thread(target=_ask, args=(address, answer), daemon=True)  # looking a name up has no time limit of its own
        thread.start()
        asked.append((name, answer, thread))
    deadline = time.monotonic() + SECONDS
    facts["pip"] = _pip() if not facts["offline"] else None
    for name, answer, thread in asked:
        thread.join(max(0.0, deadline - time.monotonic()))
        found = dict(answer) or {"seconds": None, "error": f"no answer in {SECONDS:g} s"}
        facts["places"][name] = {"address": without_password(addresses[name]), **found}
    return facts


def _ask(address: str, answer: dict[str, Any]) -> None:
    """One HEAD request. Any answer is an answer: an HTTP error, and a certificate only the library's own store knows."""
    begun = time.monotonic()
    error = None
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=SECONDS).close()
    except urllib.error.HTTPError as found:
        found.close()
    except urllib.error.URLError as found:
        if not isinstance(found.reason, ssl.SSLError):
            error = str(found.reason)
    except (OSError, ValueError) as found:  # ValueError: an HF_ENDPOINT that is no address
        error = str(found) or type(found).__name__
    answer.update(seconds=round(time.monotonic() - begun, 2) if error is None else None, error=error)


def _pip() -> dict[str, Any] | None:
    """Whether pip finds packages with the index, proxy and certificates it is set up with; None without pip."""
    begun = time.monotonic()
    quiet = ("--disable-pip-version-check", "--no-input", "--retries", "0", "--timeout", str(SECONDS))
    code, text = run(sys.executable, "-m", "pip", "index", "versions", "pip", *quiet, seconds=_PIP_SECONDS)
    if "No module named pip" in text:
        return None
    lines = [line for line in text.splitlines() if line.startswith("ERROR")]
    error = None if code == 0 else re.sub(r"//[^/@\s]*@", "//", lines[0] if lines else text.strip()[-200:])
    return {"seconds": round(time.monotonic() - begun, 2) if code == 0 else None, "error": error}


def without_password(address: str) -> str:
    """The address without the user and the password it may hold."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else address
