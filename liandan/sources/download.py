"""HTTP with resume, by the standard library."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from liandan.sources.entry import Progress, WayFailed

STALL_SECONDS = 15.0  # to connect, and for each read
TRIES = 4  # in a row that bring nothing; a try that brings bytes starts the count again
_BLOCK = 1 << 18


def fetch(url: str, part: Path, size: int, progress: Progress, *, stall_seconds: float = STALL_SECONDS) -> None:
    """Download `url` to `part`, going on after the bytes that `part` already holds. The caller verifies the content.

    Args:
        size: bytes that are expected; what goes beyond is not written, so that no server can fill the disk.
        stall_seconds: without an answer or a byte for so long, the connection is given up and made anew.

    Raises:
        WayFailed: an address that is not http(s), a refusal, another size than expected, or TRIES tries in a row without a byte.
    """
    if not url.startswith(("http://", "https://")):
        raise WayFailed(f"expected an http or https address, got {url}")
    if part.exists() and part.stat().st_size > size:
        part.unlink()
    idle = 0
    while (have := _held(part)) < size:
        reason = _once(url, part, have, size, progress, stall_seconds)
        idle = 0 if _held(part) > have else idle + 1
        if _held(part) >= size:
            break
        if idle >= TRIES:
            kept = f"; {_held(part):,} of {size:,} bytes are kept, and the next call goes on from there" if _held(part) else ""
            raise WayFailed(reason + kept)
        time.sleep(0.2 * 2**idle if idle else 0)


def _held(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _once(url: str, part: Path, have: int, size: int, progress: Progress, stall_seconds: float) -> str:
    """One connection. Returns why it ended; raises WayFailed when another try cannot help."""
    request = urllib.request.Request(url, headers={"User-Agent": "liandan", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=stall_seconds)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # what is held does not fit what the server has: start again
            part.unlink(missing_ok=True)
        elif error.code not in (408, 425, 429) and error.code < 500:
            raise WayFailed(f"{url} answered {error.code} {error.reason}") from error
        return f"{url} answered {error.code} {error.reason}"
    except (OSError, http.client.HTTPException) as error:  # URLError, time-outs and resets are OSErrors
        return f"{url}: {_reason(error)}"
    with response:
        start = _start(response, have)
        length = response.headers.get("Content-Length")
        if length is not None and start + int(length) != size:
            raise WayFailed(f"expected {size:,} bytes, {url} has {start + int(length):,}")
        with open(part, "r+b" if start else "wb") as out:
            out.seek(start)
            return _copy(response, out, start, size, url, progress)


def _reason(error: OSError | http.client.HTTPException) -> str:
    return str(getattr(error, "reason", None) or error) or type(error).__name__


def _start(response: http.client.HTTPResponse, have: int) -> int:
    """The position of the first byte that comes: that asked for, or 0 from a server that knows no ranges."""
    if response.status != 206:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if not found or int(found[1]) != have:
        raise WayFailed(f"asked for the bytes from {have}, the server sent {response.headers.get('Content-Range')!r}")
    return have


def _copy(response: http.client.HTTPResponse, out: BinaryIO, done: int, size: int, url: str, progress: Progress) -> str:
    """Append what comes. Only reading is forgiven: a disk that is full is no fault of the server, and its OSError goes to the caller."""
    while True:
        try:
            block = response.read1(_BLOCK)  # not read: it would lose what came before a reset
        except (OSError, http.client.HTTPException) as error:
            return f"{url}: {_reason(error)}"
        if not block:
            return f"{url} ended the connection early"
        if done + len(block) > size:
            raise WayFailed(f"expected {size:,} bytes, {url} sends more")
        out.write(block)
        done += len(block)
        progress(url, done, size)
