"""A real HTTP server on this machine whose faults a test can choose."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server:
    """Serves `files` (path -> bytes). Every request is noted as (path, Range header or None).

    Attributes:
        drop: bytes after which each connection is cut, None for never; `drops` says how many connections are cut in all.
        ranges: whether Range is understood.
        statuses: answered, one a request, before anything is served.
        silent: seconds without an answer.
        tokens: the Authorization header of each request, or None.
        shift: added to the first byte of Content-Range, to lie about it.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.tokens: list[str | None] = []
        self.drop: int | None = None
        self.drops = 1_000_000
        self.ranges = True
        self.length = True
        self.statuses: list[int] = []
        self.silent = 0.0
        self.shift = 0
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/"

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET(body=False)

        def do_GET(self, body: bool = True) -> None:
            server.requests.append((self.path, self.headers.get("Range")))
            server.tokens.append(self.headers.get("Authorization"))
            if server.silent:
                time.sleep(server.silent)
                self.close_connection = True
                return
            content = server.files.get(self.path)
            if server.statuses or content is None:
                self.send_error(server.statuses.pop(0) if server.statuses else 404)
                return
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if server.ranges else None
            start = int(asked[1]) if asked else 0
            if start >= len(content) and asked:
                self.send_error(416)
                return
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start + server.shift}-{len(content) - 1}/{len(content)}")
            if server.length:
                self.send_header("Content-Length", str(len(content) - start))
            # What a model hub tells about a file; other clients do not read it.
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0123456789abcdef0123456789abcdef01234567")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            if not body:
                return
            if server.drop is not None and server.drops > 0:
                server.drops -= 1
                self.wfile.write(content[start : start + server.drop])
            else:
                self.wfile.write(content[start:])

    return Handler
