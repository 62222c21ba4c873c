"""What is posted: pictures that must be scored, and files that must be refused in one known way."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

Refusals = list[tuple[bytes, int, str]]  # file, status, problem

_12_MEGAPIXELS = (3000, 4000)


def good_pictures(samples: Path) -> list[bytes]:
    """The pictures of a folder, as they are."""
    return [file.read_bytes() for file in sorted(samples.glob("*.png"))]


def camera_picture() -> bytes:
    """A JPEG of 12 megapixels, as a phone or a camera takes it."""
    height, width = _12_MEGAPIXELS
    coarse = np.random.default_rng(0).integers(60, 200, (height // 50, width // 50, 3), dtype=np.uint8)
    return _save(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), "JPEG", quality=90)


def bad_files(max_pixels: int) -> Refusals:
    """Files that are no picture, damaged, of a format not accepted, or larger than they look."""
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    png, jpeg = _save(picture, "PNG"), _save(picture, "JPEG")
    progressive = _save(picture, "JPEG", progressive=True)
    last_scan = progressive.rfind(b"\xff\xda")
    bomb = bytearray(png)
    bomb[16:24] = struct.pack(">II", 60_000, 60_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    side = int(max_pixels**0.5) + 1
    unreadable = (b"", b"not a picture", bytes(1000), png[:-300], jpeg[:-300],
                  progressive[:last_scan] + progressive[last_scan:-2] * 5_000)  # fmt: skip
    return [
        *((data, 400, "unreadable-image") for data in unreadable),
        *((data, 415, "unsupported-image") for data in (_save(picture, "GIF"), b"%PDF-1.7 and so on")),
        *((data, 413, "too-many-pixels") for data in (bytes(bomb), _save(Image.new("L", (side, side)), "PNG"))),
    ]


def _save(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()
