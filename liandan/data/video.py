"""Frames of a video file, through PyAV (FFmpeg's libraries)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from liandan.data.errors import DataError, Unreadable

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv"})


def is_video(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def frames(path: Path, every: float = 0.0, channels: int = 3) -> Iterator[tuple[float, torch.Tensor]]:
    """Frames as they are shown, one at a time.

    Args:
        path: the file.
        every: seconds between two frames; 0 gives all of them.
        channels: 3 (RGB) or 1 (luma).

    Yields:
        (seconds since the start, uint8 (channels, height, width)).

    Raises:
        DataError: PyAV is not installed.
        Unreadable: not a video, or broken; the frames before the break were given.
    """
    if importlib.util.find_spec("av") is None:
        raise DataError("reading a video needs PyAV: pip install 'liandan[video]'")
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise Unreadable(path, "there is no picture in it")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            start, due = None, 0.0
            for frame in container.decode(stream):
                now = frame.time or 0.0
                start = now if start is None else start
                if now - start < due - 1e-6:
                    continue
                while every and due <= now - start + 1e-6:
                    due += every
                pixels = frame.to_ndarray(format="rgb24" if channels == 3 else "gray")
                pixels = np.rot90(pixels, getattr(frame, "rotation", 0) // 90)  # a telephone held upright says so beside the pixels
                image = torch.from_numpy(np.ascontiguousarray(pixels))
                yield now - start, image.permute(2, 0, 1) if channels == 3 else image[None]
    except FFmpegError as error:
        raise Unreadable(path, f"not a video that can be decoded: {error.strerror or error}") from error
