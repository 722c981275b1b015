"""Single files of model hubs, through huggingface_hub, which honors HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE.

HF_TOKEN goes to the official hub alone, never to a mirror.
"""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from types import ModuleType

from liandan.sources.entry import SourceError

ANSWER_SECONDS = 10.0  # for the hub to answer at all
STALL_SECONDS = 20  # for a download that has stopped to be given up
OFFICIAL = "https://huggingface.co"


def endpoint() -> str:
    """The address of the hub: HF_ENDPOINT, else the official one; without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or OFFICIAL).rstrip("/")


def offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids to ask the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def hub_file(repo: str, filename: str, revision: str | None = None) -> Path:
    """The path of one file of a hub, from the local cache or fetched into it; huggingface_hub resumes and verifies.

    What the cache holds is used without asking whether the hub has a newer one: a run made again finds the same weights, and without a
    network. Name a commit as the revision to say which.

    Args:
        repo: "owner/name".
        filename: path inside the repository, posix.
        revision: branch, tag or commit; None is the main branch.

    Raises:
        SourceError: tells the address tried, what went wrong and how to bring the file by hand.
    """
    hub = _library()
    if found := cached(repo, filename, revision):
        return found
    try:
        if not hub.constants.HF_HUB_OFFLINE:
            _reach(hub.constants.ENDPOINT)
        # Without HF_ENDPOINT the library sends the user's token where it belongs; a mirror has no business with it.
        token = None if hub.constants.ENDPOINT == OFFICIAL else False
        return Path(hub.hf_hub_download(repo, filename, revision=revision, etag_timeout=ANSWER_SECONDS, token=token))
    except Exception as error:
        # The library's errors come from several packages, its HTTP client's among them, and all mean the same here: no file.
        raise SourceError(_failed(hub, repo, filename, revision, error)) from error


def _reach(endpoint: str) -> None:
    """One question to the hub before the library asks its six: a closed network is then told in seconds, not in minutes."""
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()  # any answer is an answer
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # the library brings certificates of its own
            raise


def cached(repo: str, filename: str, revision: str | None = None) -> Path | None:
    """The path of a hub's file when it is on this machine already, else None. Asks no network."""
    try:
        found = _library().try_to_load_from_cache(repo, filename, revision=revision)
    except SourceError:
        return None
    return Path(found) if isinstance(found, str) else None


def _library() -> ModuleType:
    # Read by huggingface_hub when it is imported; what the user has set stays.
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", str(STALL_SECONDS))
    try:
        import huggingface_hub
    except ImportError as error:
        raise SourceError("files of a model hub need the Python package huggingface_hub: `pip install huggingface_hub`") from error
    return huggingface_hub


def _failed(hub: ModuleType, repo: str, filename: str, revision: str | None, error: Exception) -> str:
    constants = hub.constants
    endpoint, at = constants.ENDPOINT, revision or "main"
    lines = [f"{filename} of {repo} ({at}) could not be had from {endpoint}: {_first_line(error)}"]
    cause = error.__cause__
    if cause is not None and not constants.HF_HUB_OFFLINE:
        lines.append(f"  because of {_first_line(cause)}")
    if constants.HF_HUB_OFFLINE:
        lines.append("HF_HUB_OFFLINE is set, so nothing was asked of the network: unset it, or bring the file.")
    pinned = f" --revision {revision}" if revision else ""
    lines += [
        "What can be done:",
        "  set HF_ENDPOINT to a mirror of the hub that this machine can reach, and call again;",
        "  or, on a machine that reaches one (`pip install huggingface_hub`):",
        f"    hf download {repo} {filename}{pinned}",
        f"  and copy the folder models--{repo.replace('/', '--')} from its cache (`hf cache ls` shows it) into",
        f"    {constants.HF_HUB_CACHE}",
        f"  or download {endpoint}/{repo}/resolve/{at}/{filename} and name its path in the recipe (model.weights).",
    ]
    return "\n".join(lines)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"
