"""What stands between the network and the application: patience, sizes, origins, the token, and a line of the log for every request.

`Impatient` is uvicorn's HTTP protocol with an end to its patience; `Limits` is the ASGI middleware around everything, the page too.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import ipaddress
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from liandan.deploy import errors
from liandan.deploy.errors import ServeError

_HEAD = 64 * 1024  # bytes of a request's line and headers
_PACE = 64 * 1024  # bytes of a body for which a client gets a second more
_LINGER = 1.0  # seconds in which what a client still sends is thrown away, so that it can read why it is refused
_HELD = 16  # bodies of the largest size that may be in memory together
_OPEN = frozenset({"/health", "/ready"})  # without a token: a load balancer has none
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

# for every answer that does not say otherwise; the page has a policy of its own
_HEADERS = {
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
}


@dataclass(frozen=True)
class Settings:
    """How a run is served.

    Attributes:
        token: what clients must show; needed beyond this machine.
        max_body: bytes of a request.
        max_pixels: of an image, by its header.
        max_inputs: files or texts of a prediction.
        max_tokens: of a text that is written.
        queue: predictions and texts that may wait or be in work.
        batch_size: predictions made together.
        batch_wait: seconds that a first prediction waits for others.
        timeout: seconds, the deadline of a request.
        patience: seconds for a request's headers, and for its body, to which a second is added for each 64 KiB received.
        drain: seconds in which requests may be answered after SIGTERM.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    max_body: int = 16 << 20
    max_pixels: int = 50_000_000
    max_inputs: int = 16
    max_tokens: int = 1024
    queue: int = 256
    batch_size: int = 16
    batch_wait: float = 0.002
    timeout: float = 60.0
    patience: float = 10.0
    drain: float = 30.0

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class Impatient(HttpToolsProtocol):
    """Closes connections whose requests come too slowly, or with too long a head; 408 and 431 where no answer has begun.

    Args:
        patience: see Settings.
    """

    def __init__(self, *args: Any, patience: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.patience = patience
        self._timer: asyncio.TimerHandle | None = None
        self._since, self._received, self._in_head = 0.0, 0, True

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._relax()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._timer is None:
            self._expect()
        self._received += len(data)
        super().data_received(data)
        if self._timer is not None and self._in_head and self._received > _HEAD:
            self._give_up(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if sum(len(n) + len(v) for n, v in self.headers[-1:]) > _HEAD or len(self.headers) > 200:
            raise ValueError("the head is too large")  # httptools makes 400 of it

    def on_headers_complete(self) -> None:
        self._since, self._received, self._in_head = self.loop.time(), 0, False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._relax()
        super().on_message_complete()

    def _expect(self) -> None:
        self._since, self._received, self._in_head = self.loop.time(), 0, True
        self._timer = self.loop.call_later(self.patience, self._late)

    def _relax(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        earned = 0.0 if self._in_head else self._received / _PACE
        rest = self._since + self.patience + earned - self.loop.time()
        if rest > 0:
            self._timer = self.loop.call_later(rest, self._late)
        else:
            self._give_up(b"408 Request Timeout")

    def _give_up(self, status: bytes) -> None:
        self._relax()
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()


class Limits:
    """ASGI middleware.

    Args:
        log: told one object a request.
        observe: told (method, route, status, seconds) of each.
    """

    def __init__(
        self, app: Any, settings: Settings, log: Callable[[dict[str, Any]], None], observe: Callable[[str, str, int, float], None]
    ) -> None:
        self.app, self.settings, self.log, self.observe = app, settings, log, observe
        self.held = 0  # bytes of bodies in memory
        self.cut = 0  # requests that were broken off because the server ended

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = _Request(self, scope, receive, send)
        started = time.perf_counter()
        try:
            request.admit()
            await self.app(scope, request.receive, request.send)
        except ServeError as error:
            if request.status:
                raise
            told = json.dumps(errors.body(error.status_code, error.code, error.detail, error.param)).encode()
            headers = [(k.lower().encode(), v.encode()) for k, v in (error.headers or {}).items()]
            headers += [(b"content-type", b"application/json"), (b"content-length", str(len(told)).encode())]
            await request.send({"type": "http.response.start", "status": error.status_code, "headers": headers})
            await request.send({"type": "http.response.body", "body": told})
        except asyncio.CancelledError:
            self.cut += 1
            raise
        finally:
            self.held -= request.read
            seconds, route = time.perf_counter() - started, getattr(scope.get("route"), "path", "other")
            self.observe(scope["method"], route, request.status or 499, seconds)
            self.log({
                "id": request.id, "client": (scope.get("client") or ("",))[0], "method": scope["method"], "path": scope["path"],
                "status": request.status or 499, "ms": round(1000 * seconds, 2), "in": request.read, "out": request.written,
            })  # fmt: skip


class _Request:
    """One request on its way in and out."""

    def __init__(self, limits: Limits, scope: Any, receive: Any, send: Any) -> None:
        self.limits, self.settings, self.scope, self._receive, self._send = limits, limits.settings, scope, receive, send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.id = uuid.uuid4().hex
        self.read, self.written, self.status = 0, 0, 0
        length = self.headers.get(b"content-length", b"0")
        self.length = int(length) if length.isdigit() else 0
        self.whole = self.length == 0 and b"transfer-encoding" not in self.headers  # whether all of the body has come

    # -- in ---------------------------------------------------------------------------------------------------------------
    def admit(self) -> None:
        """Raises ServeError for what may not even knock."""
        host = self.headers.get(b"host", b"").decode("latin-1")
        if self.settings.local and not self.settings.token and not self._means_here(host):
            raise ServeError(403, "wrong_host", "this server answers only to the address it was started on")  # DNS rebinding
        if self.scope["method"] not in _SAFE and not self._same_origin(host):
            raise ServeError(403, "cross_origin", "requests from pages of other origins are refused")
        if self.settings.token and self.scope["path"] not in _OPEN and not self._has_token():
            # a browser understands the first scheme alone, and asks a person for nothing but Basic; programs know what they have
            challenge = {"WWW-Authenticate": 'Basic realm="liandan", charset="UTF-8"'}
            raise ServeError(401, "invalid_api_key", "expected the server's token as Authorization: Bearer ...", headers=challenge)
        if self.length > self.settings.max_body:
            raise self._too_large()

    def _means_here(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        return name.strip("[]").lower() in ("localhost", "127.0.0.1", "::1", self.settings.host)

    def _same_origin(self, host: str) -> bool:
        if self.headers.get(b"sec-fetch-site") == b"cross-site":
            return False
        origin = self.headers.get(b"origin")
        return origin is None or origin.decode("latin-1").partition("://")[2].lower() == host.lower()

    def _has_token(self) -> bool:
        """A program shows it as a bearer's, a browser as any user's password."""
        kind, _, shown = self.headers.get(b"authorization", b"").partition(b" ")
        if kind.lower() == b"basic":
            with contextlib.suppress(binascii.Error):
                return hmac.compare_digest(base64.b64decode(shown).partition(b":")[2], self.settings.token.encode())
        return hmac.compare_digest(shown.strip() if kind.lower() == b"bearer" else b"", self.settings.token.encode())

    def _too_large(self) -> ServeError:
        return ServeError(413, "body_too_large", f"expected at most {self.settings.max_body:,} bytes of body")

    async def receive(self) -> Any:
        message = await self._receive()
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            self.read += size
            self.limits.held += size
            self.whole = not message.get("more_body", False)
            if self.read > self.settings.max_body:
                raise self._too_large()
            if self.limits.held > _HELD * self.settings.max_body:
                raise ServeError(503, "bodies_full", "too many large requests at once; come again")
        elif not self.whole:
            raise ServeError(499, "client_gone", "the client closed its connection")
        return message

    # -- out --------------------------------------------------------------------------------------------------------------
    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            there = {name.lower() for name, _ in message["headers"]}
            own = [(name, value) for name, value in _HEADERS.items() if name not in there]
            if not self.whole:
                own.append((b"connection", b"close"))
            message = {**message, "headers": [*message["headers"], *own, (b"x-request-id", self.id.encode())]}
        elif message["type"] == "http.response.body":
            self.written += len(message.get("body", b""))
            if not self.whole and not message.get("more_body", False):
                await self._send({**message, "more_body": True})
                await self._linger()
                message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _linger(self) -> None:
        """Closing with bytes unread would reset the connection, and the client would never read its answer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                while not self.whole:
                    message = await self._receive()
                    self.whole = message["type"] != "http.request" or not message.get("more_body", False)
