"""Files of a hub, by huggingface_hub against a server on this machine that answers as a hub does."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


def test_a_token_never_goes_to_a_mirror(server: Server, tmp_path: Path):
    server.files["/liandan/probe/resolve/main/labels.txt"] = b"x"
    told = ask(tmp_path, "liandan/probe", "labels.txt", HF_ENDPOINT=server.base.rstrip("/"), HF_TOKEN="hf_secret")
    assert "file: x" in told.stdout, told.stdout + told.stderr
    assert server.tokens and set(server.tokens) == {None}


WAY = """
import hashlib, sys
from pathlib import Path
from liandan.sources import File, Source, SourceError, get, hub_file
from liandan.sources.prepare import as_they_are
from liandan.sources.ways import Hub, ModelScope
file = File("probe/labels.txt", hashlib.sha256("猫".encode()).hexdigest(), 3)
ways = {"hub": Hub((file,), "liandan/probe", "v1"), "modelscope": ModelScope((file,), "liandan/probe")}
if "cached" in sys.argv:
    hub_file("liandan/probe", "labels.txt", "v1")
try:
    source = Source("probe", "a probe", "探针", "none", tuple(ways[name] for name in sys.argv[1].split(",")), as_they_are)
    print("file:", (get(source) / "labels.txt").read_text(encoding="utf-8"))
except SourceError as error:
    print(error)
    sys.exit(3)
"""


def by_way(server: Server, folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"HF_ENDPOINT": server.base, "MODELSCOPE_DOMAIN": server.base, "HF_TOKEN": "hf_secret", **environment}
    return subprocess.run(
        [sys.executable, "-X", "utf8", "-c", WAY, *words],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
        | {"LIANDAN_HOME": str(folder / "家")}
        | own,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )


PLACES = {"hub": "/liandan/probe/resolve/v1/labels.txt", "modelscope": "/models/liandan/probe/resolve/master/labels.txt"}


@pytest.mark.parametrize("name", PLACES)
def test_an_entry_comes_from_a_hub_by_its_public_address_and_without_a_token(name: str, server: Server, tmp_path: Path):
    server.files[PLACES[name]] = "猫".encode()
    told = by_way(server, tmp_path, name)
    assert told.stdout == "file: 猫\n", told.stdout + told.stderr
    assert server.requests == [(PLACES[name], None)] and server.tokens == [None]


def test_what_the_hubs_own_cache_holds_is_not_asked_for_again(server: Server, tmp_path: Path):
    server.files[PLACES["hub"]] = "猫".encode()
    first = by_way(server, tmp_path, "hub", "cached", LIANDAN_HOME=str(tmp_path / "一"))
    assert first.stdout == "file: 猫\n", first.stdout + first.stderr
    asked = len(server.requests)
    told = by_way(server, tmp_path, "hub", HF_HUB_OFFLINE="1")
    assert told.stdout == "file: 猫\n" and len(server.requests) == asked


def test_a_hub_with_other_bytes_is_passed_over(server: Server, tmp_path: Path):
    server.files[PLACES["hub"]] = b"dog"
    server.files[PLACES["modelscope"]] = "猫".encode()
    assert by_way(server, tmp_path, "hub,modelscope").stdout == "file: 猫\n"


def test_offline_each_way_says_why_and_how_to_bring_the_file(server: Server, tmp_path: Path):
    told = by_way(server, tmp_path, "hub,modelscope", HF_HUB_OFFLINE="1")
    assert told.returncode == 3 and [path for path, _ in server.requests] == [PLACES["modelscope"]]
    place = tmp_path / "家" / "sources" / "downloads" / "probe" / "labels.txt"
    base = server.base.rstrip("/")
    for words in (
        f"1. {base}/liandan/probe: HF_HUB_OFFLINE is set, so nothing was asked of the network",
        f"2. {base}/models/liandan/probe: {base}{PLACES['modelscope']} answered 404",
        f"curl --location --create-dirs --output '{place}' '{base}{PLACES['hub']}'",
    ):
        assert words in told.stdout


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


FOLDER = """
import sys
from liandan.sources import SourceError, hub_folder
try:
    folder = hub_folder("liandan/probe", ("config.json", "tokenizer.json", "chat_template.jinja"))
    print({path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())})
except SourceError as error:
    print(error)
    sys.exit(3)
"""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def repository(server: Server, *names: str) -> None:
    """Answer as a hub does that has these files, each with its own name in it."""
    told = {"id": "liandan/probe", "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
    server.files["/api/models/liandan/probe/revision/main"] = json.dumps(told).encode()
    tree = [{"type": "file", "path": name, "size": len(name), "oid": "0"} for name in names]
    server.files[f"/api/models/liandan/probe/tree/{COMMIT}?recursive=true&expand=false"] = json.dumps(tree).encode()
    for name in names:
        server.files[f"/liandan/probe/resolve/{COMMIT}/{name}"] = name.encode()


def whole(cache: Path, server: Server, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"HF_HOME": str(cache), "HF_ENDPOINT": server.base.rstrip("/"), "HF_TOKEN": "hf_secret", "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-X", "utf8", "-c", FOLDER], cwd=ROOT, env={"PATH": "/usr/bin:/bin", "NO_PROXY": "*", **own, **environment},
        capture_output=True, text=True, encoding="utf-8", check=False, timeout=120,
    )  # fmt: skip


def test_a_model_is_fetched_once_without_what_could_run_and_without_a_token(server: Server, tmp_path: Path):
    there = ["config.json", "tokenizer.json", "model.safetensors"]
    repository(server, *there, "pytorch_model.bin", "modeling_own.py", "onnx/model.safetensors")
    first = whole(tmp_path, server)
    wanted = {name: name for name in sorted(there)}
    assert first.stdout == f"{wanted}\n", first.stdout + first.stderr
    assert server.tokens and set(server.tokens) == {None}
    asked = len(server.requests)
    for environment in ({}, {"HF_HUB_OFFLINE": "1"}):
        assert whole(tmp_path, server, **environment).stdout == first.stdout and len(server.requests) == asked


def test_a_model_without_safetensors_or_with_a_part_missing_is_none(server: Server, tmp_path: Path):
    repository(server, "config.json", "pytorch_model.bin")
    told = whole(tmp_path / "a", server)
    assert told.returncode == 3 and "no config.json with weights in safetensors" in told.stdout
    repository(server, "config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors")
    index = {"weight_map": {f"w{n}": f"model-0000{n}-of-00002.safetensors" for n in (1, 2)}}
    server.files[f"/liandan/probe/resolve/{COMMIT}/model.safetensors.index.json"] = json.dumps(index).encode()
    told = whole(tmp_path / "b", server)
    assert told.returncode == 3 and "no config.json with weights in safetensors" in told.stdout, told.stdout


def test_a_model_that_cannot_be_had_says_what_was_tried_and_how_to_bring_it(server: Server, tmp_path: Path):
    told = whole(tmp_path, server, HF_HUB_OFFLINE="1")
    assert told.returncode == 3 and server.requests == []
    for words in ("liandan/probe (main) could not be had from", "HF_HUB_OFFLINE is set", "hf download liandan/probe\n", "hf/<folder>"):
        assert words in told.stdout
    told = whole(tmp_path, server, HF_ENDPOINT="http://127.0.0.1:9")
    assert told.returncode == 3 and "Connection refused" in told.stdout
