"""Files of a hub, by huggingface_hub against a server on this machine that answers as a hub does."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.unit.sources.server import Server

ROOT = Path(__file__).parents[3]
SCRIPT = """
import sys
from liandan.sources import SourceError, cached, hub_file
repo, name, *revision = sys.argv[1:]
print("cached:", cached(repo, name, *revision))
try:
    path = hub_file(repo, name, *revision)
    print("file:", path.read_text(encoding="utf-8"))
    print("cached:", cached(repo, name, *revision) == path)
except SourceError as error:
    print(error)
    sys.exit(3)
"""


def ask(cache: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: huggingface_hub reads its settings when it is imported."""
    return subprocess.run(
        [sys.executable, "-X", "utf8", "-c", SCRIPT, *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )


def test_a_file_is_fetched_once_and_found_again_without_a_network(server: Server, tmp_path: Path):
    server.files["/liandan/probe/resolve/main/labels.txt"] = "猫\n狗\n".encode()
    first = ask(tmp_path, "liandan/probe", "labels.txt", HF_ENDPOINT=server.base.rstrip("/"))
    assert first.stdout == "cached: None\nfile: 猫\n狗\n\ncached: True\n", first.stdout + first.stderr
    asked = len(server.requests)
    again = ask(tmp_path, "liandan/probe", "labels.txt", HF_ENDPOINT=server.base.rstrip("/"))
    assert "file: 猫" in again.stdout and len(server.requests) == asked
    offline = ask(tmp_path, "liandan/probe", "labels.txt", HF_HUB_OFFLINE="1")
    assert "file: 猫" in offline.stdout and offline.returncode == 0


def test_a_revision_is_asked_for(server: Server, tmp_path: Path):
    server.files["/liandan/probe/resolve/v1/labels.txt"] = b"old"
    told = ask(tmp_path, "liandan/probe", "labels.txt", "v1", HF_ENDPOINT=server.base.rstrip("/"))
    assert "file: old" in told.stdout, told.stdout


def test_a_hub_that_is_not_there_is_told_in_seconds_with_what_to_do(tmp_path: Path):
    begun = time.monotonic()
    told = ask(tmp_path, "liandan/probe", "a/model.safetensors", "v1", HF_ENDPOINT="http://127.0.0.1:9")
    assert told.returncode == 3 and time.monotonic() - begun < 15
    for words in (
        "a/model.safetensors of liandan/probe (v1) could not be had from http://127.0.0.1:9: URLError",
        "Connection refused",
        "set HF_ENDPOINT to a mirror",
        "hf download liandan/probe a/model.safetensors --revision v1",
        f"copy the folder models--liandan--probe from its cache (`hf cache ls` shows it) into\n    {tmp_path}/hub",
        "http://127.0.0.1:9/liandan/probe/resolve/v1/a/model.safetensors",
    ):
        assert words in told.stdout


def test_a_file_that_the_hub_does_not_have_is_told(server: Server, tmp_path: Path):
    told = ask(tmp_path, "liandan/probe", "none.bin", HF_ENDPOINT=server.base.rstrip("/"))
    assert told.returncode == 3 and "404" in told.stdout


def test_offline_nothing_is_asked(server: Server, tmp_path: Path):
    told = ask(tmp_path, "liandan/probe", "x", HF_ENDPOINT=server.base.rstrip("/"), HF_HUB_OFFLINE="1")
    assert told.returncode == 3 and "HF_HUB_OFFLINE is set" in told.stdout
    assert server.requests == []


def test_without_the_library_the_text_says_what_to_install(tmp_path: Path):
    told = subprocess.run([sys.executable, "-S", "-c", SCRIPT, "a/b", "c"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 3
    assert told.stdout == "cached: None\nfiles of a model hub need the Python package huggingface_hub: `pip install huggingface_hub`\n"
