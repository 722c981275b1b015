"""The ways by which a file can come: an installed Python package, HTTP, a model hub. Package clients have a file of their own.

Each is a frozen dataclass that meets entry.Way. None of them runs what it fetches.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

from liandan.sources import download, hub
from liandan.sources.entry import File, Progress, WayFailed


@dataclass(frozen=True)
class Installed:
    """A file that an installed Python package holds, written to the bytes its authors published.

    Attributes:
        package: what pip installs.
        module: what Python imports; asked for without importing it.
        write: writes the file to a path.
    """

    file: File
    package: str
    module: str
    write: Callable[[Path], None]

    @property
    def files(self) -> tuple[File, ...]:
        return (self.file,)

    def describe(self) -> str:
        return f"the Python package {self.package}"

    def by_hand(self, file: File, place: Path) -> str:
        return f"pip install {self.package}"

    def fetch(self, file: File, part: Path, progress: Progress) -> None:
        if importlib.util.find_spec(self.module) is None:
            raise WayFailed(f"it is not installed: `pip install {self.package}`")
        progress(self.describe(), 0, file.size)
        try:
            self.write(part)
        except ImportError as error:
            raise WayFailed(f"{self.package} is installed but cannot be imported: {error}") from error
        progress(self.describe(), file.size, file.size)


@dataclass(frozen=True)
class Http:
    """Files below one address, http or https; the proxies of the environment are honored. Downloads resume where the server can.

    A mirror is a way of its own, so that each is told apart when all fail.
    """

    files: tuple[File, ...]
    base: str

    def describe(self) -> str:
        return urlsplit(self.base).netloc or self.base

    def by_hand(self, file: File, place: Path) -> str:
        return _curl(self._address(file), place)

    def fetch(self, file: File, part: Path, progress: Progress) -> None:
        download.fetch(self._address(file), part, file.size, progress)

    def _address(self, file: File) -> str:
        return urljoin(self.base, quote(_path(file)))


@dataclass(frozen=True)
class Hub:
    """Public files of a repository of the Hugging Face hub, or of the mirror that HF_ENDPOINT names. No token is ever sent.

    What lies in huggingface_hub's cache (HF_HOME) is taken from there. With HF_HUB_OFFLINE the network is not asked.

    Attributes:
        files: named `<folder>/<file of the repository>`.
        repo: "owner/name".
        revision: a commit.
    """

    files: tuple[File, ...]
    repo: str
    revision: str

    def describe(self) -> str:
        return f"{hub.endpoint()}/{self.repo}"

    def by_hand(self, file: File, place: Path) -> str:
        return _curl(self._address(file), place)

    def fetch(self, file: File, part: Path, progress: Progress) -> None:
        if found := hub.cached(self.repo, _path(file), self.revision):
            progress(f"copy {found}", 0, file.size)
            shutil.copyfile(found, part)
            return
        if hub.offline():
            raise WayFailed("HF_HUB_OFFLINE is set, so nothing was asked of the network")
        download.fetch(self._address(file), part, file.size, progress)

    def _address(self, file: File) -> str:
        return f"{hub.endpoint()}/{self.repo}/resolve/{self.revision}/{quote(_path(file))}"


@dataclass(frozen=True)
class ModelScope:
    """Public files of a repository of ModelScope; MODELSCOPE_DOMAIN names another host. No token is ever sent.

    Attributes:
        files: as of Hub.
        revision: a branch, tag or commit; ModelScope's commits are its own, so that the hash alone says whether a file is the one meant.
    """

    files: tuple[File, ...]
    repo: str
    revision: str = "master"

    def describe(self) -> str:
        return f"{self._base}/{self.repo}"

    def by_hand(self, file: File, place: Path) -> str:
        return _curl(self._address(file), place)

    def fetch(self, file: File, part: Path, progress: Progress) -> None:
        download.fetch(self._address(file), part, file.size, progress)

    @property
    def _base(self) -> str:
        domain = os.environ.get("MODELSCOPE_DOMAIN") or "www.modelscope.cn"
        return (domain if "://" in domain else f"https://{domain}").rstrip("/") + "/models"

    def _address(self, file: File) -> str:
        return f"{self._base}/{self.repo}/resolve/{self.revision}/{quote(_path(file))}"


def _path(file: File) -> str:
    """The name of a file where it is published: without the folder that keeps it apart in the cache."""
    return file.name.rpartition("/")[2]


def _curl(address: str, place: Path) -> str:
    return f"curl --location --create-dirs --output '{place}' '{address}'"
