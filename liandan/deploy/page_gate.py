"""What of Gradio a browser may reach. Everything else that Gradio serves by itself is not there."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from liandan.deploy.errors import ServeError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

EVENT_BYTES = 256 * 1024
_READ = re.compile(r"/|/(assets|static)/.+|/theme\.css|/gradio_api/(startup-events|queue/data)")
_WRITTEN = re.compile(r"/gradio_api/(queue/join|cancel|reset|component_server/)")
# A model can write anything into its answer, an image at a stranger's address among it: the browser asks this server alone.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


class Gate:
    """ASGI: an allowed path, and an event of text and numbers alone.

    Gradio follows every object of an event that calls itself a file, an address among them, whatever component it is for.

    Raises:
        ServeError: 404, 400 or 413 for all else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, written = scope["path"].removeprefix(scope.get("root_path", "")) or "/", scope["method"] == "POST"
        allowed = _WRITTEN if written else _READ
        if scope["method"] not in ("GET", "HEAD", "POST") or not allowed.fullmatch(path):
            raise ServeError(404, "not_found", "there is no such page")
        if path == "/gradio_api/queue/join":
            body = await _body(receive)
            if body is None:
                raise ServeError(413, "body_too_large", f"expected at most {EVENT_BYTES:,} bytes")
            if not plain(body):
                raise ServeError(400, "invalid_value", "expected an event of text and numbers")
            receive = _again(body, receive)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"content-security-policy", _POLICY.encode())]
            await send(message)

        await self.app(scope, receive, told)


def plain(body: bytes) -> bool:
    """Whether an event's data are texts, numbers and nothing."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return False
    data: Any = event.get("data") if isinstance(event, dict) else None
    return isinstance(data, list) and all(value is None or (isinstance(value, str | int | float) and value == value) for value in data)


async def _body(receive: Receive) -> bytes | None:
    """The whole body, or None where it is too long."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if size > EVENT_BYTES:
            return None
    return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once more, and then what comes after it."""
    given = False

    async def next_message() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message
