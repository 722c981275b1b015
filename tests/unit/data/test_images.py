from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from liandan.data.images import MAX_PIXELS, Unreadable, decode, probe


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def ramp(dtype: type = np.uint8, step: int = 1) -> np.ndarray:
    return (np.arange(8 * 12).reshape(8, 12) * step).astype(dtype)


def test_rgb_is_channels_height_width(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    tensor = decode(save(tmp_path / "a.png", Image.fromarray(array)))
    assert tensor.dtype == torch.uint8 and tensor.shape == (3, 5, 7) and tensor.is_contiguous()
    assert torch.equal(tensor, torch.from_numpy(array).permute(2, 0, 1))


def test_grey_stays_what_it_is_and_is_repeated(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(ramp()))
    assert torch.equal(decode(path, 1)[0], torch.from_numpy(ramp()))
    assert torch.equal(decode(path, 3), torch.from_numpy(ramp()).repeat(3, 1, 1))


def test_color_to_grey_is_luma(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.new("RGB", (3, 3), (200, 100, 50)))
    assert decode(path, 1).unique().tolist() == [round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)]


def test_sixteen_bits_are_scaled_not_cut(tmp_path: Path) -> None:
    values = ramp(np.uint16, step=600)
    for suffix in ("png", "tif"):
        got = decode(save(tmp_path / f"a.{suffix}", Image.fromarray(values)), 1)[0]
        assert np.array_equal(got.numpy(), np.rint(values / 257).astype(np.uint8))
    assert probe(tmp_path / "a.png").mode.startswith("I;16")


def test_thirty_two_bits_and_floats(tmp_path: Path) -> None:
    wide = decode(save(tmp_path / "i.tif", Image.fromarray(ramp(np.int32, step=1000) - 5000)), 1)[0].numpy()
    assert wide.min() == 0 and wide.max() == 255  # clipped to what 16 bits hold
    unit = decode(save(tmp_path / "u.tif", Image.fromarray((ramp() / 95).astype(np.float32))), 1)[0].numpy()
    assert np.array_equal(unit, np.rint(ramp() / 95 * 255).astype(np.uint8))
    eight = decode(save(tmp_path / "f.tif", Image.fromarray(ramp(np.float32, step=2))), 1)[0].numpy()
    assert np.array_equal(eight, ramp(step=2))
    holes = ramp(np.float32)
    holes[2, 3] = np.nan
    with pytest.raises(Unreadable, match="NaN"):
        decode(save(tmp_path / "n.tif", Image.fromarray(holes)))


def test_one_bit(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(ramp() > 40))
    assert torch.equal(decode(path, 1)[0], torch.from_numpy((ramp() > 40) * np.uint8(255)))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_on_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("LA", (4, 4), (0, 0)) if mode == "LA" else Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.putpixel((1, 1), (10, 255) if mode == "LA" else (10, 10, 10, 255))
    image.putpixel((2, 2), (0, 128) if mode == "LA" else (0, 0, 0, 128))
    got = decode(save(tmp_path / "a.png", image), 1)[0]
    assert got[0, 0] == 255 and got[1, 1] == 10 and abs(int(got[2, 2]) - 127) <= 1


def test_palette_with_a_transparent_entry(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 200, 30, 60])
    image.putpixel((2, 1), 1)
    got = decode(save(tmp_path / "a.png", image, transparency=0))
    assert got[:, 0, 0].tolist() == [255, 255, 255] and got[:, 1, 2].tolist() == [200, 30, 60]
    assert decode(save(tmp_path / "b.png", image))[:, 0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("image", [Image.new("L", (3, 3), 7), Image.new("1", (3, 3), 1), Image.new("RGB", (3, 3), (1, 2, 3))])
def test_a_transparent_color_lies_on_white(tmp_path: Path, image: Image.Image) -> None:
    transparent = image.getpixel((0, 0))
    got = decode(save(tmp_path / "a.png", image, transparency=1 if image.mode == "1" else transparent))
    assert got.unique().tolist() == [255]


def test_cmyk(tmp_path: Path) -> None:
    got = decode(save(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (0, 255, 255, 0)), quality=95))
    assert got.shape == (3, 16, 16)
    red, green, blue = got.float().mean(dim=(1, 2)).tolist()
    assert red > 240 and green < 15 and blue < 15


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    # what a viewer shows: the row and column that hold the first stored row and column, EXIF 2.3 tag 0x0112
    stored = np.full((24, 40), 30, np.uint8)
    stored[:12, :20] = 220  # the first rows and columns
    bright = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    got = decode(save(tmp_path / f"a.{suffix}", Image.fromarray(stored).convert("RGB"), exif=exif), 1)[0].float()
    height, width = (40, 24) if orientation >= 5 else (24, 40)
    assert got.shape == (height, width)
    quarters = got.view(2, height // 2, 2, width // 2).mean(dim=(1, 3))
    assert divmod(int(quarters.argmax()), 2) == bright and quarters.flatten().sort().values[2] < 60


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_exif_around_good_pixels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", Image.new("RGB", (8, 8), (9, 9, 9)), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff rubbish")
    assert decode(path).shape == (3, 8, 8)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_several_frames_give_the_first(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    got = decode(save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:]))
    assert got.float().mean(dim=(1, 2)).argmax() == 0


def test_a_jpeg_of_several_pictures(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 64), color) for color in ((250, 0, 0), (0, 250, 0))]
    path = save(tmp_path / "a.mpo", frames[0], save_all=True, append_images=frames[1:]).rename(tmp_path / "a.jpg")
    assert probe(path).format == "MPO" and decode(path, at_least=20).float().mean(dim=(1, 2)).argmax() == 0


def png_header(width: int, height: int) -> bytes:
    """A PNG of white pixels that says it is this large; its data would unpack to that."""
    chunk = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    header = struct.pack(">I", 13) + b"IHDR" + chunk + struct.pack(">I", zlib.crc32(b"IHDR" + chunk))
    data = zlib.compress(bytes(1 << 16))
    return b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_by_their_header(tmp_path: Path) -> None:
    for width, height in ((30_000, 30_000), (10_000, 9_000)):
        path = tmp_path / "bomb.png"
        path.write_bytes(png_header(width, height))
        with pytest.raises(Unreadable, match="pixels: refused before decoding"):
            decode(path)
    assert MAX_PIXELS < 10_000 * 9_000


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "tif", "bmp"])
def test_truncated_anywhere(tmp_path: Path, suffix: str) -> None:
    array = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    whole = save(tmp_path / f"a.{suffix}", Image.fromarray(array)).read_bytes()
    for length in (1, 5, len(whole) // 4, len(whole) // 2, int(len(whole) * 0.8)):
        path = tmp_path / f"cut.{suffix}"
        path.write_bytes(whole[:length])
        with pytest.raises(Unreadable) as caught:
            decode(path)
        assert caught.value.path == str(path) and caught.value.reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "0 bytes"), ("这不是图片, just text".encode(), "not an image"), (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image")],
)
def test_what_is_no_image(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "假.jpg"
    path.write_bytes(content)
    for file in (path, content):
        with pytest.raises(Unreadable, match=reason):
            decode(file)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="No such file"):
        decode(tmp_path / "gone.png")
    with pytest.raises(Unreadable, match="directory"):
        decode(tmp_path)


@pytest.mark.filterwarnings("ignore")  # Pillow's, about the damage
def test_flipped_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for suffix in ("jpg", "png", "gif", "tif", "webp", "bmp"):
        whole = save(tmp_path / f"a.{suffix}", Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))).read_bytes()
        for _ in range(40):
            broken = bytearray(whole)
            for at in rng.integers(0, len(whole), 6):
                broken[at] = rng.integers(0, 256)
            with contextlib.suppress(Unreadable):
                assert decode(bytes(broken)).dtype == torch.uint8


def test_unreadable_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(Unreadable("猫/1.jpg", "broken: cut short")))
    assert (error.path, error.reason, str(error)) == ("猫/1.jpg", "broken: cut short", "猫/1.jpg: broken: cut short")


def test_a_jpeg_is_decoded_at_the_size_that_is_needed(tmp_path: Path) -> None:
    y, x = np.mgrid[0:480, 0:640]
    path = save(tmp_path / "a.jpg", Image.fromarray((x * 0.2 + y * 0.2).astype(np.uint8)), quality=95)
    small = decode(path, 3, at_least=100)
    assert small.shape == (3, 120, 160)  # a quarter: an eighth would be below 100
    assert torch.equal(small, decode(path, 3, at_least=100))
    assert decode(path, 3, at_least=500).shape == (3, 480, 640)
    whole = torch.nn.functional.avg_pool2d(decode(path).float(), 4)
    assert (small.float() - whole).abs().max() <= 3


def test_files_are_closed(tmp_path: Path) -> None:
    good, bad = save(tmp_path / "a.png", Image.new("L", (4, 4))), tmp_path / "b.png"
    bad.write_bytes(good.read_bytes()[:40])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        decode(good)
        probe(good)
        with pytest.raises(Unreadable):
            decode(bad)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_threads_agree(tmp_path: Path) -> None:
    arrays = [np.random.default_rng(k).integers(0, 256, (32, 32, 3), dtype=np.uint8) for k in range(8)]
    blobs = []
    for array in arrays:
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, "JPEG")
        blobs.append(stream.getvalue())
    alone = [decode(blob) for blob in blobs]
    with ThreadPoolExecutor(4) as pool:
        for a, b in zip(alone * 10, pool.map(decode, blobs * 10), strict=True):
            assert torch.equal(a, b)
