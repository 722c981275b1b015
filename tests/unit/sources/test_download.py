"""HTTP against a real server that drops, stalls, lies and refuses."""

from __future__ import annotations

import hashlib
import random
import time
from pathlib import Path

import pytest

from liandan.sources import File, Source, SourceError, get
from liandan.sources.download import fetch
from liandan.sources.entry import WayFailed
from liandan.sources.ways import Http
from tests.unit.sources.server import Server

CONTENT = random.Random(0).randbytes(700_000)


def copy(raw: Path, made: Path) -> None:
    made.mkdir(parents=True)
    for path in raw.iterdir():
        path.rename(made / path.name)


def quiet(what: str, done: int, total: int | None) -> None:
    pass


def source(*bases: str, content: bytes = CONTENT) -> Source:
    file = File("诗.bin", hashlib.sha256(content).hexdigest(), len(content))
    ways = tuple(Http((file,), base) for base in bases)
    return Source("probe", "a probe", "探针", "none", ways, copy)


PATH = "/%E8%AF%97.bin"


def test_a_dropped_download_goes_on_where_it_stopped(server: Server, home: Path):
    server.files[PATH] = CONTENT
    server.drop = 250_000
    seen = []
    folder = get(source(server.base), progress=lambda what, done, total: seen.append((done, total)))
    assert (folder / "诗.bin").read_bytes() == CONTENT
    assert server.requests == [(PATH, None), (PATH, "bytes=250000-"), (PATH, "bytes=500000-")]
    done = [count for count, total in seen if total == len(CONTENT)]
    assert done == sorted(done) and done[-1] == len(CONTENT)


def test_a_later_call_goes_on_with_the_part_of_an_earlier_one(server: Server, home: Path):
    server.files[PATH] = CONTENT
    part = home / "sources" / "downloads" / "诗.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:123_456])
    get(source(server.base))
    assert server.requests[0] == (PATH, "bytes=123456-")
    assert not part.exists()


def test_a_part_of_another_file_is_thrown_away_and_fetched_afresh(server: Server, home: Path):
    server.files[PATH] = CONTENT
    part = home / "sources" / "downloads" / "诗.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * 1000)
    folder = get(source(server.base))
    assert (folder / "诗.bin").read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == ["bytes=1000-", None]


def test_a_part_that_is_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path):
    server.files["/x"] = CONTENT
    (tmp_path / "x").write_bytes(b"\0" * (len(CONTENT) + 1))
    fetch(server.base + "x", tmp_path / "x", len(CONTENT), quiet)
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path):
    server.files["/x"] = CONTENT
    server.ranges, server.drop, server.drops = False, 400_000, 1
    fetch(server.base + "x", tmp_path / "x", len(CONTENT), quiet)
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path):
    server.files["/x"] = CONTENT
    server.statuses = [503, 429]
    fetch(server.base + "x", tmp_path / "x", len(CONTENT), quiet)
    assert (tmp_path / "x").read_bytes() == CONTENT


def test_a_file_that_is_not_there_is_asked_for_once(server: Server, tmp_path: Path):
    with pytest.raises(WayFailed, match="404"):
        fetch(server.base + "x", tmp_path / "x", 10, quiet)
    assert len(server.requests) == 1


def test_a_silent_server_is_given_up(server: Server, tmp_path: Path):
    server.files["/x"] = CONTENT
    server.silent = 0.5
    begun = time.monotonic()
    with pytest.raises(WayFailed, match="timed out$"):
        fetch(server.base + "x", tmp_path / "x", len(CONTENT), quiet, stall_seconds=0.1)
    assert time.monotonic() - begun < 10
    assert len(server.requests) == 4


def test_a_server_that_brings_nothing_more_is_given_up_and_the_part_kept(server: Server, tmp_path: Path):
    server.files["/x"] = CONTENT
    server.drop, server.drops = 100_000, 1
    (tmp_path / "x").write_bytes(CONTENT[:50_000])
    server.statuses = [500] * 9
    with pytest.raises(WayFailed, match="50,000 of 700,000 bytes are kept"):
        fetch(server.base + "x", tmp_path / "x", len(CONTENT), quiet)
    assert (tmp_path / "x").read_bytes() == CONTENT[:50_000]


@pytest.mark.parametrize("length", [True, False])
def test_more_bytes_than_the_file_has_are_refused(server: Server, tmp_path: Path, length: bool):
    server.files["/x"] = CONTENT
    server.length = length
    with pytest.raises(WayFailed, match="expected 1,000 bytes"):
        fetch(server.base + "x", tmp_path / "x", 1000, quiet)
    assert not (tmp_path / "x").exists() or (tmp_path / "x").stat().st_size <= 1000


def test_a_range_other_than_asked_for_is_refused(server: Server, tmp_path: Path):
    server.files["/x"] = CONTENT
    server.shift = 5
    (tmp_path / "x").write_bytes(CONTENT[:1000])
    with pytest.raises(WayFailed, match="asked for the bytes from 1000"):
        fetch(server.base + "x", tmp_path / "x", len(CONTENT), quiet)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "/etc/passwd"])
def test_only_http_is_asked(url: str, tmp_path: Path):
    with pytest.raises(WayFailed, match="http or https"):
        fetch(url, tmp_path / "x", 10, quiet)


def test_wrong_bytes_of_a_mirror_lead_to_the_next(server: Server, home: Path):
    server.files[PATH] = CONTENT
    server.files["/bad" + PATH] = CONTENT[:-1] + b"?"
    folder = get(source(server.base + "bad/", server.base))
    assert (folder / "诗.bin").read_bytes() == CONTENT


def test_when_every_way_fails_each_is_told_with_the_hash_and_the_commands(server: Server, home: Path):
    server.files["/bad" + PATH] = b"?" * len(CONTENT)
    probe = source(server.base + "bad/", server.base + "none/")
    with pytest.raises(SourceError) as failed:
        get(probe)
    text = str(failed.value)
    place = home / "sources" / "downloads" / "诗.bin"
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert f"expected 700,000 bytes with sha256 {sha256}, got 700,000 bytes with sha256" in text
    assert "answered 404" in text
    assert f"curl --location --create-dirs --output '{place}' '{server.base}bad{PATH}'" in text
    assert text.count("      expected: 诗.bin, ") == 1
    assert not place.with_name("诗.bin.part").exists()

    place.write_bytes(CONTENT[:-1])  # brought by hand, damaged
    with pytest.raises(SourceError, match="which lay there"):
        get(probe)
    place.write_bytes(CONTENT)
    assert (get(probe) / "诗.bin").read_bytes() == CONTENT
