"""Single files of model hubs, through huggingface_hub, which honors HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE.

HF_TOKEN goes to the official hub alone, never to a mirror.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Collection
from pathlib import Path
from types import ModuleType

from liandan.sources.entry import SourceError

ANSWER_SECONDS = 10.0  # for the hub to answer at all
STALL_SECONDS = 20  # for a download that has stopped to be given up
OFFICIAL = "https://huggingface.co"
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


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


def hub_folder(repo: str, names: Collection[str]) -> Path:
    """The folder of a model's files of a hub, from the local cache or fetched into it: those of `names` that there are, and the weights in
    safetensors, of one file or of several with their index. What the cache holds is used as `hub_file` does.

    Args:
        repo: "owner/name".

    Raises:
        SourceError: tells the address tried, what went wrong and how to bring the files by hand.
    """
    hub = _library()
    wanted = {"allow_patterns": [*names, *_WEIGHTS], "ignore_patterns": ["*/*"]}
    with contextlib.suppress(Exception):  # not there, or not yet: asked for below
        folder = Path(hub.snapshot_download(repo, local_files_only=True, **wanted))
        if _whole(folder):
            return folder
    try:
        if not hub.constants.HF_HUB_OFFLINE:
            _reach(hub.constants.ENDPOINT)
        token = None if hub.constants.ENDPOINT == OFFICIAL else False
        folder = Path(hub.snapshot_download(repo, etag_timeout=ANSWER_SECONDS, token=token, **wanted))
    except Exception as error:
        raise SourceError(_failed(hub, repo, "", None, error)) from error
    if not _whole(folder):
        raise SourceError(f"{repo} of {hub.constants.ENDPOINT} has no config.json with weights in safetensors; name another repository")
    return folder


def _whole(folder: Path) -> bool:
    """Whether a model's folder has its config and all of its weights."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        parts = set(json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values())
        return (folder / "config.json").is_file() and all((folder / part).is_file() for part in parts)
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


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
    """What went wrong and what can be done; without a file name, of a whole repository."""
    constants = hub.constants
    endpoint, at = constants.ENDPOINT, revision or "main"
    lines = [f"{f'{filename} of ' * bool(filename)}{repo} ({at}) could not be had from {endpoint}: {_first_line(error)}"]
    cause = error.__cause__
    if cause is not None and not constants.HF_HUB_OFFLINE:
        lines.append(f"  because of {_first_line(cause)}")
    if constants.HF_HUB_OFFLINE:
        lines.append("HF_HUB_OFFLINE is set, so nothing was asked of the network: unset it, or bring what is missing.")
    words = " ".join(["hf download", repo, *([filename] if filename else []), *(["--revision", revision] if revision else [])])
    lines += [
        "What can be done:",
        "  set HF_ENDPOINT to a mirror of the hub that this machine can reach, and call again;",
        "  or, on a machine that reaches one (`pip install huggingface_hub`):",
        f"    {words}",
        f"  and copy the folder models--{repo.replace('/', '--')} from its cache (`hf cache ls` shows it) into",
        f"    {constants.HF_HUB_CACHE}",
    ]
    if filename:
        lines.append(f"  or download {endpoint}/{repo}/resolve/{at}/{filename} and name its path in the recipe (model.weights).")
    else:
        lines.append(f"  or download the files of {endpoint}/{repo} into a folder and name it in the recipe (model.name=hf/<folder>).")
    return "\n".join(lines)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"
