"""What clients may send to predict on: files of a form, data: URIs and texts. Nothing that would have to be fetched or opened."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import UploadFile

from liandan.deploy.errors import ServeError
from liandan.deploy.limits import Settings

_DATA = re.compile(r"data:[\w.+-]+/[\w.+-]+(;[\w.+=-]+)*;base64,", re.ASCII)
_SHOWN = 200  # characters of a file's name in an answer

REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}},
                "required": ["file"],
            },
        },
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"inputs": {
                    "type": "array", "minItems": 1, "items": {"type": "string"},
                    "description": "Texts, or images as data: URIs. No address is fetched and no file is opened.",
                }},
                "required": ["inputs"], "additionalProperties": False,
            },
            "examples": {
                "texts": {"value": {"inputs": ["味道很好，下次还来。"]}},
                "image": {"value": {"inputs": [
                    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
                ]}},
            },
        },
    },
}  # fmt: skip


class Inputs(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    inputs: list[str] = Field(min_length=1)


async def read(request: Request, images: bool, settings: Settings) -> list[tuple[str, bytes]]:
    """(name, content) of each input of a request; a text's content is its UTF-8.

    Raises:
        ServeError: 415 for another type of body, 400 for one that is not well formed, has nothing or too many in it, or names things.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=settings.max_inputs, max_fields=settings.max_inputs) as form:
            fields = form.multi_items()
            if images and (names := [name for name, value in fields if not isinstance(value, UploadFile)]):
                raise ServeError(400, "not_a_file", "expected files alone, received a field; send it as -F file=@photo.jpg", names[0])
            found = [
                (_shown(value.filename or name), await value.read()) if isinstance(value, UploadFile) else (_shown(name), value.encode())
                for name, value in fields
            ]
    elif kind == "application/json":
        try:
            asked = Inputs.model_validate_json(await request.body())
        except ValidationError as error:
            raise ServeError(400, *first_fault(error.errors())) from error
        found = [(str(k), data_uri(text, f"inputs.{k}") if images else text.encode()) for k, text in enumerate(asked.inputs)]
    else:
        raise ServeError(415, "unsupported_media_type", f'expected multipart/form-data or application/json, received "{kind}"')
    if not found:
        raise ServeError(400, "nothing_to_predict", "expected at least one file or text, received none")
    if len(found) > settings.max_inputs:
        raise ServeError(400, "too_many_inputs", f"expected at most {settings.max_inputs} files or texts, received {len(found)}")
    return found


def data_uri(text: str, param: str) -> bytes:
    """The content of data:...;base64,... ; raises ServeError, for an address too: this server fetches nothing for anybody."""
    match = _DATA.match(text)
    if match is None:
        raise ServeError(400, "not_a_data_uri", "expected an image as data:image/...;base64,...; addresses are not fetched", param)
    try:
        return base64.b64decode(text[match.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ServeError(400, "not_base64", f"expected base64 after the comma: {error}", param) from error


def first_fault(faults: Sequence[Any]) -> tuple[str, str, str | None]:
    """(code, message, field) of the first of pydantic's errors."""
    fault = faults[0]
    where = ".".join(str(part) for part in fault["loc"] if part != "body") if fault["type"] != "json_invalid" else ""
    code = {"extra_forbidden": "unknown_parameter", "missing": "missing_parameter", "json_invalid": "invalid_json"}.get(fault["type"])
    return code or "invalid_value", f"{where}: {fault['msg']}" if where else str(fault["msg"]), where or None


def _shown(name: str) -> str:
    """A file's name as its sender gave it, for the answer alone: it is never a path here."""
    return "".join(c if c.isprintable() else "?" for c in name[:_SHOWN])
