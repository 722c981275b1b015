"""The cache: verified on every call, made by one process at a time, never seen half made; and the copy in the user's folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from liandan.sources import SourceError, get
from liandan.sources import home as home_of
from liandan.sources.store import _list

ROOT = Path(__file__).parents[3]


def damage_a_byte(folder: Path) -> None:
    path = folder / "3" / "0003.png"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def remove_a_file(folder: Path) -> None:
    (folder / "3" / "0003.png").unlink()


def add_a_file(folder: Path) -> None:
    (folder / "3" / "mine.png").write_bytes(b"x")


def cut_the_manifest(folder: Path) -> None:
    manifest = folder.parent / "MANIFEST.json"
    manifest.write_text(manifest.read_text(encoding="utf-8")[:500], encoding="utf-8")


def lie_in_the_manifest(folder: Path) -> None:
    manifest = folder.parent / "MANIFEST.json"
    values = json.loads(manifest.read_text(encoding="utf-8"))
    values["files"]["3/0003.png"][1] = "0" * 64
    manifest.write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.parametrize("harm", [damage_a_byte, remove_a_file, add_a_file, cut_the_manifest, lie_in_the_manifest])
def test_a_damaged_cache_is_noticed_and_made_again(harm, home: Path):
    folder = get("digits")
    whole = _list(folder)
    harm(folder)
    told: list[str] = []
    assert get("digits", progress=lambda what, done, total: told.append(what)) == folder
    assert told == ["unpack optdigits.tes", "prepare digits"]  # from the kept file: no way is asked again
    assert _list(folder) == whole


def test_what_is_whole_is_not_made_again(home: Path):
    folder = get("digits")
    before = folder.parent.stat().st_ino
    told: list[str] = []
    get("digits", progress=lambda what, done, total: told.append(what))
    assert told == [] and folder.parent.stat().st_ino == before


def test_a_copy_goes_where_it_is_asked_for(home: Path, tmp_path: Path):
    destination = tmp_path / "数据" / "数字"
    assert get("digits", destination) == destination
    assert _list(destination) == _list(get("digits"))
    assert sorted(path.name for path in destination.iterdir()) == [str(i) for i in range(10)]
    assert not [path for path in destination.parent.iterdir() if path != destination]


def test_a_copy_is_verified_and_completed(home: Path):
    destination = home.parent / "digits"
    destination.mkdir()
    (destination / ".DS_Store").write_bytes(b"")
    get("digits", destination)
    remove_a_file(destination)
    get("digits", str(destination))
    assert len(list(destination.glob("*/*.png"))) == 1797


@pytest.mark.parametrize("harm, told", [(add_a_file, "3/mine.png, which is none of"), (damage_a_byte, "3/0003.png, which is not as")])
def test_a_folder_that_holds_other_things_is_refused_and_left_alone(harm, told: str, home: Path):
    destination = home.parent / "digits"
    get("digits", destination)
    harm(destination)
    before = _list(destination)
    with pytest.raises(SourceError, match=told):
        get("digits", destination)
    assert _list(destination) == before


def test_a_destination_that_is_a_file_is_refused(home: Path):
    (home.parent / "digits").write_text("mine")
    with pytest.raises(SourceError, match="got the file"):
        get("digits", home.parent / "digits")


def test_options_are_checked_before_anything_is_fetched(home: Path):
    with pytest.raises(SourceError, match=r"digits takes no options; got limit=3"):
        get("digits", limit=3)
    with pytest.raises(SourceError, match=r"chinese-poetry takes limit; got limits=3"):
        get("chinese-poetry", limits=3)
    with pytest.raises(SourceError, match="at least 1, got 0"):
        get("chinese-poetry", limit=0)
    with pytest.raises(SourceError, match="one of chinese-poetry, .*, mnist, .*; got '../etc'"):
        get("../etc")
    assert not home.exists()


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path, home: Path):
    home.write_text("a file, where a folder is needed")
    with pytest.raises(SourceError, match="set LIANDAN_HOME to another place"):
        get("digits")


def test_home_follows_the_environment(home: Path):
    script = "from liandan.sources import home; print(home())"

    def told(**environment: str) -> str:
        command = [sys.executable, "-X", "utf8", "-c", script]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True)
        return done.stdout.decode("utf-8").strip()

    assert home_of() == home
    assert told(LIANDAN_HOME="/a", XDG_CACHE_HOME="/b", HOME="/c") == "/a"
    assert told(LIANDAN_HOME="~/a", HOME="/c") == "/c/a"
    assert told(XDG_CACHE_HOME="/b", HOME="/c") == "/b/liandan"
    assert told(HOME="/c") == "/c/.cache/liandan"


KILLED = """
import os, signal, sys
from liandan.sources import get
events = []
def progress(what, done, total):
    events.append(what)
    if len(events) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
get("digits", progress=progress)
"""


@pytest.mark.parametrize("event", [1, 2, 3, 4])  # as the way begins, when it has ended, before unpacking, before preparing
def test_a_killed_call_leaves_nothing_that_the_next_takes_for_whole(event: int, home: Path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(event)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not list((home / "sources").glob("digits-*"))
    assert len(list(get("digits").glob("*/*.png"))) == 1797
    assert sorted(path.name for path in (home / "sources" / "downloads").iterdir()) == [".optdigits.tes.lock", "optdigits.tes"]
    assert not list((home / "sources").glob(".*.tmp"))


def test_the_folder_appears_whole_or_not_at_all(home: Path):
    making = subprocess.Popen([sys.executable, "-c", "from liandan.sources import get; get('digits')"], cwd=ROOT)
    while not (appeared := list((home / "sources").glob("digits-*"))) and making.poll() is None:
        pass
    assert len(list(appeared[0].glob("digits/*/*.png"))) == 1797 and (appeared[0] / "MANIFEST.json").is_file()
    assert making.wait(timeout=60) == 0


def test_processes_that_ask_at_once_make_it_once(home: Path):
    script = "from liandan.sources import get; get('digits', progress=lambda what, *_: print(what, flush=True))"
    running = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    told = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert sum("prepare digits" in text for text in told) == 1
    assert os.listdir(home / "sources" / "downloads").count("optdigits.tes") == 1
