"""`liandan serve` as a process of its own, and clients that speak HTTP on plain sockets, so that a test can do what no library would."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.zygote import ROOT

T = TypeVar("T")
DEADLINE = 120.0  # seconds: generous, a busy machine must not fail a test
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of an error, whose four fields must all be there."""
        assert set(self.json["error"]) == {"message", "type", "param", "code"}, self.body
        return self.json["error"]["code"]


class Server:
    """A server that was started on a free port; its standard error is its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, headers: Mapping[str, str]) -> None:
        self.process, self.log, self.headers = process, log, dict(headers)
        self.port = int(until(lambda: self.find("listening"), self.text)["port"])
        self.url = f"http://{HOST}:{self.port}"

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")]

    def find(self, event: str) -> dict[str, Any] | None:
        return next((record for record in reversed(self.records()) if record.get("event") == event), None)

    def record(self, reply: Reply) -> dict[str, Any]:
        """The line of an answer, which is written when the answer has been sent."""
        own = reply.headers["x-request-id"]
        (found,) = until(lambda: [record for record in self.records() if record.get("id") == own])
        return found

    def request(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        """One request on a connection of its own."""
        with self.connect() as connection:
            connection.sendall(head(method, path, self.port, body, {**self.headers, **(headers or {})}) + (body or b""))
            return read(connection)

    def post(self, path: str, value: Any) -> Reply:
        return self.request("POST", path, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def upload(self, *files: bytes, names: tuple[str, ...] = ("a.png",)) -> Reply:
        kind, body = form(*((names[k % len(names)], content) for k, content in enumerate(files)))
        return self.request("POST", "/v1/predict", body, {"Content-Type": kind})

    @contextmanager
    def connect(self) -> Iterator[socket.socket]:
        with socket.create_connection((HOST, self.port), timeout=DEADLINE) as connection:
            yield connection

    def metric(self, name: str) -> float:
        match = re.search(rf"^{name} (\S+)$", self.request("GET", "/metrics").body.decode(), re.MULTILINE)
        assert match is not None, name
        return float(match[1])

    def is_ready(self) -> bool:
        return self.request("GET", "/ready").status == 200

    def worker(self) -> int:
        """Process id of the inference process, the server's only child."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(until(lambda: children.read_text().split(), self.text)[0])

    def resident(self) -> int:
        """Bytes of the server process, once its pages are loaded, which takes seconds and memory of its own."""
        until(lambda: all(self.request("GET", page).status == 200 for page in ("/en/", "/zh/")), self.text)
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)


def until(look: Callable[[], T | None], told: Callable[[], str] = str) -> T:
    """What `look` sees, once it sees something."""
    started = time.monotonic()
    while time.monotonic() - started < DEADLINE:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {DEADLINE} s in vain; {told()}")


@contextmanager
def serving(run: Path, folder: Path, *words: str, headers: Mapping[str, str] | None = None, ready: bool = True) -> Iterator[Server]:
    """`liandan serve run` on a free port of 127.0.0.1, until the end of the block."""
    log = folder / f"serve-{time.monotonic_ns()}.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    command = [sys.executable, "-m", "liandan", "serve", str(run), "--port", "0", *words]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=out, env=environment, cwd=folder)
    try:
        server = Server(process, log, headers or {})
        if ready:
            until(server.is_ready, server.text)
        yield server
    finally:
        process.kill()
        process.wait(DEADLINE)


def form(*files: tuple[str, bytes]) -> tuple[str, bytes]:
    """(content type, body) of files as a browser sends them."""
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'.encode() + content
        for name, content in files
    ]
    return "multipart/form-data; boundary=b", b"\r\n".join(parts) + b"\r\n--b--\r\n"


def head(method: str, path: str, port: int, body: bytes | None, headers: Mapping[str, str]) -> bytes:
    given = {"Host": f"{HOST}:{port}", **({} if body is None else {"Content-Length": str(len(body))}), **headers}
    return "".join([f"{method} {path} HTTP/1.1\r\n", *(f"{k}: {v}\r\n" for k, v in given.items()), "\r\n"]).encode("latin-1")


def read(connection: socket.socket) -> Reply:
    """The next answer on a connection."""
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        headers = _headers(iter(stream.readline, b"\r\n"))
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(stream.readline(), 16):
                body += stream.read(size)
                stream.readline()
            stream.readline()
        else:
            body = stream.read(int(headers.get("content-length", 0)))
    return Reply(status, headers, body)


def _headers(lines: Iterator[bytes]) -> dict[str, str]:
    pairs = (line.decode("latin-1").partition(":") for line in lines)
    return {name.lower(): value.strip() for name, _, value in pairs}


class Client:
    """One of many: a connection that is kept, in asyncio."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, kind: str, body: bytes) -> Reply:
        """One request and its answer; on a new connection if the last one was closed."""
        if self.streams is None:
            self.streams = await asyncio.open_connection(HOST, self.server.port)
        reader, writer = self.streams
        writer.write(head("POST", path, self.server.port, body, {"Content-Type": kind}) + body)
        status = int((await reader.readline()).split()[1])
        lines = []
        while (line := await reader.readline()) != b"\r\n":
            lines.append(line)
        headers = _headers(iter(lines))
        reply = Reply(status, headers, await reader.readexactly(int(headers["content-length"])))
        if headers.get("connection") == "close":
            self.close()
        return reply

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None
