"""One image file -> one uint8 tensor, on purpose for every mode a file can come in.

| file                                     | becomes |
|------------------------------------------|---------|
| 1-bit, L                                 | grey |
| 16-bit grey (I;16), 32-bit integers (I)  | value / 257, rounded; outside 0..65535 is clipped |
| 32-bit floats (F)                        | times 255 when all lie in 0..1, else as they are; clipped to 0..255; NaN is unreadable |
| P, LA, PA, RGBA, and a transparent color | composited on white |
| CMYK, YCbCr, LAB, HSV                    | converted to RGB |
| EXIF orientation                         | applied |
| several frames or pages                  | the first |

Nothing here holds a file open or keeps state, so threads and forked workers may call it freely.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from liandan.data.errors import Unreadable

if TYPE_CHECKING:  # Pillow is imported where it is used: text needs none of it
    from PIL import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
# Decoders that may run, by content and not by suffix: Pillow knows many more, some of which start other programs (EPS).
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")
# Judged from the header, before anything is decoded. It is where Pillow itself begins to warn: 256 MiB of RGB.
MAX_PIXELS = 89_478_485

_ORIENTATION_TAG = 0x0112
_ORIENTATIONS = {  # EXIF 2.3, tag 0x0112 -> what makes the image upright, a name of PIL.Image.Transpose
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
# What the operating system may say about one file. Any other error of its own (a failing disk, too many open files) is not the
# file's fault: to skip a sample for it would make a run depend on the weather.
_FILE_FAULTS = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


@dataclass(frozen=True)
class Header:
    """What a file says of itself; nothing is decoded for it. `size` is (height, width) as stored, before EXIF orientation."""

    format: str
    mode: str
    size: tuple[int, int]


def probe(file: str | Path | bytes) -> Header:
    """Read the header of an image; raises Unreadable."""
    with _reasons(file), _handle(file) as handle, _open(handle, file) as image:
        return Header(str(image.format), image.mode, (image.height, image.width))


def decode(file: str | Path | bytes, channels: int = 3, at_least: int | None = None) -> torch.Tensor:
    """Decode one image.

    Args:
        file: a path, or the bytes of a file.
        channels: 1 (ITU-R 601 luma) or 3 (RGB).
        at_least: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as both sides keep this many pixels (libjpeg's
            scaled inverse transform). The same number gives the same bits; another number may not.

    Returns:
        uint8 (channels, height, width).

    Raises:
        Unreadable: not an image, truncated, empty, gone, or more than MAX_PIXELS.
    """
    if channels not in (1, 3):
        raise ValueError(f"expected channels 1 or 3, got {channels}")
    with _reasons(file), _handle(file) as handle, _open(handle, file) as image:
        if at_least is not None and image.format in ("JPEG", "MPO"):
            image.draft(None, (at_least, at_least))
        image.load()
        flat = _convert(_upright(image), channels)
        array = np.array(flat)  # a copy: the tensor owns its memory and may be written to
    if array.ndim == 2:
        return torch.from_numpy(array)[None]
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


def _handle(file: str | Path | bytes) -> io.BufferedIOBase:
    return io.BytesIO(file) if isinstance(file, bytes) else open(file, "rb")


def _shown(file: str | Path | bytes) -> str | Path:
    return f"<{len(file)} bytes>" if isinstance(file, bytes) else file


@contextmanager
def _reasons(file: str | Path | bytes) -> Iterator[None]:
    """Turn whatever a decoder raises on foreign bytes into Unreadable."""
    from PIL import Image

    try:
        yield
    except (Unreadable, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unreadable(_shown(file), f"more than {MAX_PIXELS:,} pixels: refused before decoding") from error
    except Image.UnidentifiedImageError as error:
        raise Unreadable(_shown(file), f"not an image of a known format ({', '.join(FORMATS)})") from error
    except OSError as error:
        if error.errno is None:  # Pillow's own
            raise Unreadable(_shown(file), f"broken: {error}") from error
        if error.errno not in _FILE_FAULTS:
            raise
        raise Unreadable(_shown(file), error.strerror or type(error).__name__) from error
    except Exception as error:
        raise Unreadable(_shown(file), f"broken: {error}" if str(error) else f"broken ({type(error).__name__})") from error


def _open(handle: io.BufferedIOBase, file: str | Path | bytes) -> Image.Image:
    from PIL import Image

    start = handle.read(1)
    if not start:
        raise Unreadable(_shown(file), "empty file (0 bytes)")
    handle.seek(0)
    image = Image.open(handle, formats=FORMATS)  # type: ignore[arg-type]
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable(_shown(file), f"{image.width} x {image.height} is more than {MAX_PIXELS:,} pixels: refused before decoding")
    if image.width * image.height == 0:
        raise Unreadable(_shown(file), f"{image.width} x {image.height}: no pixels")
    return image


def _upright(image: Image.Image) -> Image.Image:
    from PIL import Image

    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # broken metadata around good pixels: the pixels count
        return image
    turn = _ORIENTATIONS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(Image.Transpose[turn])


def _convert(image: Image.Image, channels: int) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_to_8_bit(np.asarray(image)))
    elif image.has_transparency_data or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        colored = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colored.size, "white"), colored).convert("RGB")
    if image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")
    return image.convert("L" if channels == 1 else "RGB")


def _to_8_bit(values: np.ndarray) -> np.ndarray:
    """16- and 32-bit grey (H, W) -> uint8 (H, W)."""
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise ValueError("holds NaN or infinite values")
        scale = 255.0 if values.min() >= 0 and values.max() <= 1 else 1.0
        return np.clip(np.rint(values.astype(np.float64) * scale), 0, 255).astype(np.uint8)
    return ((np.clip(values.astype(np.int64), 0, 65535) + 128) // 257).astype(np.uint8)
