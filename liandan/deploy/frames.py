"""What server and inference process say to each other over a pipe: a JSON object and pieces of bytes, and never a pickle.

    uint32 length of the JSON, uint32 length of the bytes | JSON, with "sizes" where there are pieces | the pieces, one after another
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Sequence
from typing import IO, Any

_HEAD = struct.Struct(">II")
Frame = tuple[dict[str, Any], list[bytes]]


def pack(message: dict[str, Any], pieces: Sequence[bytes] = ()) -> bytes:
    """A frame as bytes."""
    told = {**message, "sizes": [len(piece) for piece in pieces]} if pieces else message
    text = json.dumps(told, ensure_ascii=False).encode("utf-8", "replace")  # half a surrogate pair must not end a process
    return b"".join((_HEAD.pack(len(text), sum(map(len, pieces))), text, *pieces))


def read(stream: IO[bytes]) -> Frame | None:
    """The next frame of a blocking stream; None at its end, and when it ends within a frame."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    text, rest = _HEAD.unpack(head)
    body = stream.read(text + rest)
    return _unpack(body, text) if len(body) == text + rest else None


async def read_async(stream: asyncio.StreamReader) -> Frame:
    """The next frame; raises asyncio.IncompleteReadError at the end."""
    text, rest = _HEAD.unpack(await stream.readexactly(_HEAD.size))
    return _unpack(await stream.readexactly(text + rest), text)


def _unpack(body: bytes, text: int) -> Frame:
    message = json.loads(body[:text])
    pieces, at = [], text
    for size in message.pop("sizes", ()):
        pieces.append(body[at : at + size])
        at += size
    return message, pieces
