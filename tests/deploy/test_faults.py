"""Slow clients, full queues, a process that dies or hangs, a server that is told to end (faults V3, V5, V6), and the token (V7)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.servers import HOST, Reply, Server, form, head, read, serving, until
from tests.zygote import ROOT


@pytest.fixture(scope="module")
def server(photos_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Impatient, with room for four."""
    words = ("--timeout", "2", "--patience", "1", "--queue", "4", "--batch-wait", "0")
    with serving(photos_run, tmp_path_factory.mktemp("serve"), *words) as made:
        yield made


class Upload(threading.Thread):
    """A request whose answer comes while the test does something else."""

    def __init__(self, server: Server, picture: bytes) -> None:
        super().__init__(daemon=True)
        self.server, self.picture, self.reply = server, picture, None
        self.start()

    def run(self) -> None:
        self.reply: Reply | None = self.server.upload(self.picture)

    def answer(self) -> Reply:
        self.join(60)
        assert self.reply is not None
        return self.reply


def test_a_process_that_dies_is_begun_again(server: Server, pictures: list[bytes]):
    dead = server.worker()
    os.kill(dead, signal.SIGSTOP)  # the request is in its hands when it dies
    waiting = Upload(server, pictures[0])
    until(lambda: server.metric("liandan_waiting") == 1)
    os.kill(dead, signal.SIGKILL)
    reply = waiting.answer()
    assert reply.status == 500 and reply.code == "inference_died"
    early = server.request("GET", "/ready")
    assert early.status == 503 and early.code == "not_ready" and early.headers["retry-after"]
    assert server.request("GET", "/health").status == 200
    until(server.is_ready, server.text)
    assert [server.upload(picture).status for picture in pictures[:50]] == [200] * 50
    assert server.worker() != dead and server.metric("liandan_waiting") == 0


def test_a_process_that_hangs_is_killed_and_the_queue_is_bounded(server: Server, pictures: list[bytes]):
    hung = server.worker()
    os.kill(hung, signal.SIGSTOP)
    waiting = [Upload(server, picture) for picture in pictures[:4]]
    until(lambda: server.metric("liandan_waiting") == 4)
    full = server.upload(pictures[4])
    assert full.status == 503 and full.code == "queue_full" and float(full.headers["retry-after"]) >= 1
    answers = [upload.answer() for upload in waiting]
    assert {reply.status for reply in answers} <= {500, 504} and 504 in {reply.status for reply in answers}
    until(lambda: server.worker() != hung, server.text)
    until(server.is_ready, server.text)
    assert "silent" in (server.find("inference process ended") or {})["reason"]
    assert server.upload(pictures[0]).status == 200 and server.metric("liandan_waiting") == 0


def test_a_client_that_leaves_is_forgotten(server: Server, pictures: list[bytes]):
    worker = server.worker()
    os.kill(worker, signal.SIGSTOP)
    kind, body = form(("a.png", pictures[0]))
    with server.connect() as connection:
        connection.sendall(head("POST", "/v1/predict", server.port, body, {"Content-Type": kind}) + body)
        until(lambda: server.metric("liandan_waiting") == 1)
    until(lambda: server.metric("liandan_waiting") == 0)
    os.kill(worker, signal.SIGCONT)
    assert server.upload(pictures[0]).status == 200 and server.worker() == worker


def test_slow_clients_are_closed_and_do_not_slow_the_others(server: Server, pictures: list[bytes]):
    """Two hundred connections that send a byte now and then: half of them of a head, half of a body."""
    slow = [socket.create_connection((HOST, server.port)) for _ in range(200)]
    start = head("POST", "/v1/predict", server.port, b"x" * 1000, {"Content-Type": "multipart/form-data; boundary=b"})
    for k, connection in enumerate(slow):
        connection.sendall(b"GET / HTTP/1.1\r\nX-" if k % 2 else start)
    closed, ends = set(), time.monotonic() + 60
    while len(closed) < len(slow) and time.monotonic() < ends:
        assert server.upload(pictures[0]).status == 200
        for k in {*range(len(slow))} - closed:
            try:
                slow[k].send(b"x")
                slow[k].setblocking(False)
                if slow[k].recv(4096) == b"":
                    closed.add(k)
            except BlockingIOError:
                pass
            except ConnectionError:
                closed.add(k)
        time.sleep(0.1)
    assert len(closed) == len(slow)
    for connection in slow:
        connection.close()
    until(lambda: server.metric("liandan_waiting") == 0)


def test_what_is_slow_and_large_but_steady_is_let_through(server: Server, pictures: list[bytes]):
    """A body in pieces that comes in longer than the patience for its head, and has earned it by its size."""
    kind, body = form(("a.png", pictures[0]), ("b.bin", b"x" * 300_000))
    with server.connect() as connection:
        connection.sendall(head("POST", "/v1/predict", server.port, body, {"Content-Type": kind}))
        for at in range(0, len(body), len(body) // 8 + 1):
            connection.sendall(body[at : at + len(body) // 8 + 1])
            time.sleep(0.2)
        assert read(connection).status == 200


def test_a_head_without_end_is_refused(server: Server):
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * 200_000)
        assert connection.recv(100).split()[1] in (b"400", b"431")


def test_what_is_not_answered_in_time_is_cut(photos_run: Path, pictures: list[bytes], tmp_path: Path):
    with serving(photos_run, tmp_path, "--drain", "1") as server:
        worker = server.worker()
        os.kill(worker, signal.SIGSTOP)
        kind, body = form(("a.png", pictures[0]))
        with server.connect() as connection:
            connection.sendall(head("POST", "/v1/predict", server.port, body, {"Content-Type": kind}) + body)
            until(lambda: server.metric("liandan_waiting") == 1)
            assert server.end(signal.SIGTERM) == 143
        assert not alive(worker)


TOKEN = "口令".encode().decode("latin-1")  # as its bytes stand in a header


@pytest.fixture(scope="module")
def guarded(photos_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    words = ("--token", "口令", "--drain", "60")
    with serving(photos_run, tmp_path_factory.mktemp("serve"), *words, headers={"Authorization": f"Bearer {TOKEN}"}) as made:
        yield made


def test_the_token_is_asked_for_everywhere_but_where_life_is_asked_for(guarded: Server, pictures: list[bytes]):
    kind, body = form(("a.png", pictures[0]))
    for path in ("/v1/models", "/metrics", "/openapi.json", "/nowhere"):
        assert guarded.request("GET", path, headers={"Authorization": ""}).status == 401
    for path in ("/health", "/ready"):
        assert guarded.request("GET", path, headers={"Authorization": ""}).status == 200
    basic = "Basic " + base64.b64encode("anyone:口令".encode()).decode()
    wrong = "Basic " + base64.b64encode("口令:anyone".encode()).decode()
    for shown in ("", "Bearer", "Bearer x", f"Bearer {TOKEN[:3]}", f"Bearer {TOKEN}{TOKEN}", "Basic !!", wrong, TOKEN, f"Token {TOKEN}"):
        reply = guarded.request("POST", "/v1/predict", body, {"Content-Type": kind, "Authorization": shown})
        assert reply.status == 401 and reply.code == "invalid_api_key" and reply.headers["www-authenticate"].startswith("Basic "), shown
    for shown in (f"Bearer {TOKEN}", basic):
        assert guarded.request("POST", "/v1/predict", body, {"Content-Type": kind, "Authorization": shown}).status == 200
    assert "口令" not in guarded.text()



def test_a_server_that_is_told_to_end_answers_first(guarded: Server, pictures: list[bytes]):
    worker = guarded.worker()
    os.kill(worker, signal.SIGSTOP)
    waiting = Upload(guarded, pictures[0])
    until(lambda: guarded.metric("liandan_waiting") == 1)
    guarded.process.send_signal(signal.SIGTERM)

    def refuses() -> bool:
        try:
            socket.create_connection((HOST, guarded.port)).close()
        except ConnectionError:
            return True
        return False

    until(refuses)
    os.kill(worker, signal.SIGCONT)
    assert waiting.answer().status == 200
    assert guarded.process.wait(60) == 0
    assert not alive(worker)


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["--host", "0.0.0.0"], "--token", 2),
        (["--host", "::", "--token", ""], "--token", 2),
        (["--port", "{taken}"], "choose another --port", 2),
        (["--port", "70000"], "65535", 2),
    ],
)
def test_usage_is_told(photos_run: Path, tmp_path: Path, words: list[str], said: str, code: int):
    with socket.create_server((HOST, 0)) as taken:
        asked = [word.format(taken=taken.getsockname()[1]) for word in words]
        command = [sys.executable, "-m", "liandan", "serve", str(photos_run), *asked]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment)
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr


def test_a_run_that_cannot_be_opened_ends_the_server(photos_run: Path, tmp_path: Path):
    shutil.copytree(photos_run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with serving(tmp_path / "run", tmp_path, ready=False) as server:
        assert server.process.wait(60) == 2 and "no valid checkpoint" in server.text()


def test_two_requests_on_one_connection(server: Server, pictures: list[bytes]):
    kind, body = form(("a.png", pictures[0]))
    with server.connect() as connection:
        for _ in range(3):
            connection.sendall(head("POST", "/v1/predict", server.port, body, {"Content-Type": kind}) + body)
            assert json.loads(read(connection).body)["predictions"]


def test_the_inference_process_does_not_outlive_a_killed_server(server: Server):
    worker = server.worker()
    server.process.kill()
    until(lambda: not alive(worker))


def alive(process: int) -> bool:
    """Whether a process runs: one that ended and was not waited for has no command line."""
    try:
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())
    except FileNotFoundError:
        return False
