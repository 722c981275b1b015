"""What a request can come to instead of an answer, in the shape of OpenAI's errors."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 503: "overloaded_error", 504: "timeout_error"}
BUSY = 1  # seconds after which a client that was sent away may come again


class ServeError(HTTPException):
    """An answer that is an error.

    Attributes:
        code: for programs.
        param: the field of the request that is at fault.
        close: whether the connection ends with it.
    """

    def __init__(self, status: int, code: str, message: str, param: str | None = None, headers: dict[str, str] | None = None) -> None:
        retry = {"Retry-After": str(BUSY)} if status == 503 else {}
        super().__init__(status, message, {**retry, **(headers or {})})
        self.code, self.param = code, param


def body(status: int, code: str, message: str, param: str | None = None) -> dict[str, Any]:
    """{"error": {"message", "type", "param", "code"}}"""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": sound(message), "type": kind, "param": None if param is None else sound(param), "code": code}}


def sound(text: str) -> str:
    """Text that can be sent: halves of surrogate pairs, which JSON may bring, replaced."""
    return text.encode("utf-8", "replace").decode()
