"""Archives made to do harm, each by the real tarfile and zipfile."""

from __future__ import annotations

import contextlib
import gzip
import io
import shutil
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liandan.sources import SourceError
from liandan.sources.unpack import Limits, unpack


def tar(path: Path, *members: tuple[str, bytes | str | int]) -> Path:
    """Members are (name, content), (name, target of a symbolic link) or (name, tarfile type)."""
    with tarfile.open(path, "w:gz" if path.suffix != ".tar" else "w") as archive:
        for name, what in members:
            member = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                member.size = len(what)
                archive.addfile(member, io.BytesIO(what))
            elif isinstance(what, str):
                member.type, member.linkname = tarfile.SYMTYPE, what
                archive.addfile(member)
            else:
                member.type, member.linkname = str(what).encode(), "a"
                archive.addfile(member)
    return path


def zipped(path: Path, *members: tuple[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def ar(path: Path, *members: tuple[str, bytes]) -> Path:
    """The archive format of a .deb, as ar(5) says it."""
    with open(path, "wb") as out:
        out.write(b"!<arch>\n")
        for name, content in members:
            header = f"{name:<16}{0:<12}{0:<6}{0:<6}{0o100644:<8o}{len(content):<10}`\n".encode()
            out.write(header + content + b"\n" * (len(content) % 2))
    return path


def deb(path: Path, *members: tuple[str, bytes | str | int], data: str = "data.tar.gz") -> Path:
    """A Debian package; its control part is a trap."""
    inner = tar(path.with_name(data.replace("data", "inner")), *members).read_bytes()
    path.with_name(data.replace("data", "inner")).unlink()
    trap = tar(path.with_name("trap.tar.gz"), ("../up", b"x")).read_bytes()
    path.with_name("trap.tar.gz").unlink()
    return ar(path, ("debian-binary", b"2.0\n"), ("control.tar.gz", trap), (data, inner))


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


MEMBERS = (("包/诗.txt", "詩".encode()), ("a/b/c.bin", b"\0" * 3000), ("empty", b""))


def test_what_is_honest_is_unpacked(tmp_path: Path):
    for archive in (tar(tmp_path / "x.tgz", *MEMBERS), tar(tmp_path / "x.tar", *MEMBERS), zipped(tmp_path / "x.zip", *MEMBERS)):
        out = tmp_path / archive.name.replace(".", "-")
        assert [path.relative_to(out).as_posix() for path in unpack(archive, out)] == [name for name, _ in MEMBERS]
        assert files(out) == dict(MEMBERS)


def test_a_single_gz_is_unpacked_and_a_plain_file_copied(tmp_path: Path):
    (tmp_path / "train-ubyte.gz").write_bytes(gzip.compress(b"abc"))
    (tmp_path / "plain.csv").write_bytes(b"1,2")
    unpack(tmp_path / "train-ubyte.gz", tmp_path / "out")
    unpack(tmp_path / "plain.csv", tmp_path / "out")
    assert files(tmp_path / "out") == {"train-ubyte": b"abc", "plain.csv": b"1,2"}


def test_a_wheel_is_a_zip_and_a_deb_holds_a_tar(tmp_path: Path):
    unpack(zipped(tmp_path / "x.whl", *MEMBERS), tmp_path / "whl")
    assert files(tmp_path / "whl") == dict(MEMBERS)
    for kind in ("data.tar.gz", "data.tar"):
        unpack(deb(tmp_path / "x.deb", *MEMBERS, data=kind), tmp_path / kind)
        assert files(tmp_path / kind) == dict(MEMBERS)


def test_a_deb_is_unpacked_as_dpkg_does_it(tmp_path: Path):
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not on this machine")
    tree = tmp_path / "tree"
    for name, content in (*MEMBERS, ("DEBIAN/control", b"Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    for kind in ("xz", "gzip", "none"):
        package = tmp_path / f"{kind}.deb"
        subprocess.run(["dpkg-deb", f"-Z{kind}", "-b", str(tree), str(package)], check=True, capture_output=True)
        subprocess.run(["dpkg-deb", "-x", str(package), str(tmp_path / f"{kind}-theirs")], check=True)
        unpack(package, tmp_path / kind)
        assert files(tmp_path / kind) == files(tmp_path / f"{kind}-theirs") == dict(MEMBERS)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"no archive", "it is no ar archive"),
        (b"!<arch>\n", "holds no data.tar"),
        (b"!<arch>\nshort", "header of the ar archive is broken"),
        (b"!<arch>\n" + b"data.tar".ljust(48) + b"-9".ljust(10) + b"`\n", "header of the ar archive is broken"),
        (b"!<arch>\n" + b"data.tar.zzz".ljust(48) + b"9".ljust(10) + b"`\n" + bytes(9), "cannot be unpacked"),
        (b"!<arch>\n" + b"data.tar.xz".ljust(48) + b"9".ljust(10) + b"`\n" + bytes(9), "cannot be unpacked"),
        (b"!<arch>\n" + b"x".ljust(48) + b"9999999999" + b"`\n", "holds no data.tar"),
    ],
)
def test_a_broken_deb_is_told(content: bytes, told: str, tmp_path: Path):
    (tmp_path / "x.deb").write_bytes(content)
    with pytest.raises(SourceError, match=told):
        unpack(tmp_path / "x.deb", tmp_path / "out")


def test_only_what_is_wanted_is_written(tmp_path: Path):
    archive = tar(tmp_path / "x.tgz", *MEMBERS, ("link", "/etc/passwd"), ("../up", b"x"))
    unpack(archive, tmp_path / "out", ("*/*.txt",))
    assert files(tmp_path / "out") == {"包/诗.txt": "詩".encode()}


NAMES = ["/etc/x", "../x", "a/../../x", "..", "a\\..\\x", "C:x", "C:/x", "a\nb", "a:stream", "."]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["x.tgz", "x.zip", "x.deb"])
def test_a_name_that_leads_out_is_refused(name: str, kind: str, tmp_path: Path):
    make = {"x.tgz": tar, "x.zip": zipped, "x.deb": deb}[kind]
    with pytest.raises(SourceError, match="leads out of the folder"):
        unpack(make(tmp_path / kind, (name, b"x")), tmp_path / "in" / "out")
    assert files(tmp_path / "in") == {} and not (tmp_path / "x").exists()


def test_links_and_devices_are_refused(tmp_path: Path):
    kinds = {"symbolic link": "/etc/passwd", "hard link": 1, "character device": 3, "block device": 4, "fifo": 6}
    for name, what in kinds.items():
        with pytest.raises(SourceError, match="link or a device"):
            unpack(tar(tmp_path / "x.tgz", ("a", b"x"), (name, what)), tmp_path / name)
        with pytest.raises(SourceError, match="link or a device"):
            unpack(deb(tmp_path / "x.deb", ("a", b"x"), (name, what)), tmp_path / f"{name} of a deb")
    with pytest.raises(SourceError, match="link or a device"):
        unpack(zipped(tmp_path / "x.zip", ("a", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777), tmp_path / "out")


def test_no_file_is_written_through_a_link_or_twice(tmp_path: Path):
    with pytest.raises(SourceError, match="link or a device"):
        unpack(tar(tmp_path / "x.tgz", ("d", str(tmp_path)), ("d/x", b"x")), tmp_path / "out")
    assert not (tmp_path / "x").exists()
    with pytest.raises(SourceError, match="comes twice"):
        unpack(tar(tmp_path / "y.tgz", ("a", b"x"), ("./a", b"y")), tmp_path / "twice")


@pytest.mark.parametrize("make, name", [(tar, "x.tgz"), (zipped, "x.zip"), (deb, "x.deb")])
def test_count_size_and_ratio_are_bounded(make, name: str, tmp_path: Path):
    many = make(tmp_path / ("many-" + name), *[(str(i), b"x") for i in range(6)])
    assert len(unpack(many, tmp_path / "a", limits=Limits(files=6))) == 6
    with pytest.raises(SourceError, match="more than 5 members"):
        unpack(many, tmp_path / "b", limits=Limits(files=5))
    zeros = make(tmp_path / ("zeros-" + name), ("zeros", bytes(3 << 20)))
    assert len(unpack(zeros, tmp_path / "c", limits=Limits(ratio=5000))) == 1
    with pytest.raises(SourceError, match="more than 200 times"):
        unpack(zeros, tmp_path / "d")
    assert sum(map(len, files(tmp_path / "d").values())) < 3 << 20
    with pytest.raises(SourceError, match="more than 1,000 bytes"):
        unpack(zeros, tmp_path / "e", limits=Limits(size=1000))


def test_even_what_is_not_wanted_is_counted_in_a_tar(tmp_path: Path):
    with pytest.raises(SourceError, match="more than 200 times"):
        unpack(tar(tmp_path / "x.tgz", ("zeros", bytes(3 << 20))), tmp_path / "out", ("nothing",))


def test_a_gz_that_swells_is_refused(tmp_path: Path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(bytes(20 << 20)))
    with pytest.raises(SourceError, match="more than 200 times"):
        unpack(tmp_path / "x.gz", tmp_path / "out")


@pytest.mark.parametrize("name", ["x.tgz", "x.zip", "x.gz", "x.tar.xz"])
def test_damage_is_told(name: str, tmp_path: Path):
    whole = {"x.tgz": tar, "x.zip": zipped}.get(name)
    content = whole(tmp_path / "whole", ("a", bytes(range(256)) * 900)).read_bytes() if whole else gzip.compress(bytes(range(256)) * 90)
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match="cannot be unpacked, it is damaged"):
        unpack(tmp_path / name, tmp_path / "out")


def test_an_encrypted_zip_is_refused(tmp_path: Path):
    content = bytearray(zipped(tmp_path / "x.zip", ("a", b"x")).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag, in the central directory
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(SourceError, match="encrypted"):
        unpack(tmp_path / "x.zip", tmp_path / "out")


@settings(max_examples=150, deadline=None)
@given(names=st.lists(st.text(st.sampled_from("a./\\:诗 \n"), min_size=1, max_size=8), min_size=1, max_size=3))
def test_no_name_whatever_writes_outside(names: list[str], tmp_path_factory: pytest.TempPathFactory):
    top = tmp_path_factory.mktemp("any")
    out = top / "in" / "out"
    with contextlib.suppress(SourceError):
        unpack(tar(top / "x.tgz", *[(name, b"x") for name in names]), out)
    assert {path.name for path in top.iterdir()} <= {"x.tgz", "in"}
    assert [path.name for path in (top / "in").iterdir()] == ["out"]
