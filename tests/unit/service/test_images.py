"""Bytes to pixels: every accepted format and depth, and each way to refuse."""

from __future__ import annotations

import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.images import (
    ImageError,
    TooManyPixelsError,
    UnreadableImageError,
    UnsupportedImageError,
    decode_image,
)
from tests.hostile_pictures import exif, grey_tiff, png, run_length_bmp, save, tiff, tiled_tiff
from tests.pictures import encode, noise

LIMIT = 1_000_000
DEEP = np.array([[0, 1, 255], [256, 32768, 65535]], dtype=np.uint16)
HIGH_BYTES = [[0, 0, 0], [1, 128, 255]]


def deep_tiff(samples: bytes, width: int, height: int, bits: int, order: str, photometric: int) -> bytes:
    """An uncompressed grey TIFF of any depth and byte order."""
    strip = [(273, 4, 1, -1), (278, 4, 1, height), (279, 4, 1, len(samples))]
    return tiff(grey_tiff(width, height, *strip, bits=bits, photometric=photometric), samples, order)


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_same_pixels(format_: str) -> None:
    pixels = noise(1, height=20, width=31)
    np.testing.assert_array_equal(decode_image(encode(pixels, format_), LIMIT), pixels)


def test_lossless_webp() -> None:
    pixels = noise(1, height=20, width=31)
    np.testing.assert_array_equal(decode_image(encode(pixels, "WEBP", lossless=True), LIMIT), pixels)


def test_jpeg_is_rgb_not_bgr() -> None:
    pixels = np.full((16, 16, 3), (200, 100, 20), dtype=np.uint8)
    np.testing.assert_allclose(decode_image(encode(pixels, "JPEG", quality=95), LIMIT), pixels, atol=3)


def test_cmyk_jpeg() -> None:
    data = save(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95)
    np.testing.assert_allclose(decode_image(data, LIMIT)[0, 0], (255, 0, 0), atol=5)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_eight_bit_png_modes(mode: str) -> None:
    image = Image.fromarray(noise(2)).convert(mode)
    np.testing.assert_array_equal(decode_image(save(image, "PNG"), LIMIT), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_are_laid_over_white(mode: str) -> None:
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    image.putpixel((2, 0), (0, 0, 0, 51))
    decoded = decode_image(save(image.convert(mode), "PNG"), LIMIT)
    assert decoded[0, :, 0].tolist() == [255, 0, 204]


def test_transparent_palette_entry() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    decoded = decode_image(save(image, "PNG", transparency=1), LIMIT)
    assert decoded.tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_by_its_full_range(format_: str) -> None:
    assert decode_image(encode(DEEP, format_), LIMIT)[:, :, 0].tolist() == HIGH_BYTES


def test_sixteen_bit_pixels_do_not_depend_on_each_other() -> None:
    dark = np.full((4, 4), 512, dtype=np.uint16)
    with_light = dark.copy()
    with_light[3, 3] = 65535
    assert decode_image(encode(dark), LIMIT)[0, 0, 0] == decode_image(encode(with_light), LIMIT)[0, 0, 0] == 2


def test_sixteen_bit_colour_png() -> None:
    assert decode_image(png(np.stack([DEEP] * 3, axis=2), colour_type=2), LIMIT)[:, :, 1].tolist() == HIGH_BYTES


def test_sixteen_bit_png_with_alpha() -> None:
    opaque = np.stack([*[DEEP] * 3, np.full_like(DEEP, 65535)], axis=2)
    assert decode_image(png(opaque, colour_type=6), LIMIT)[:, :, 2].tolist() == HIGH_BYTES


@pytest.mark.parametrize(("order", "photometric"), [("<", 1), (">", 1), ("<", 0)])
def test_sixteen_bit_tiff_of_either_byte_order_and_polarity(order: str, photometric: int) -> None:
    data = deep_tiff(DEEP.astype(f"{order}u2").tobytes(), 3, 2, 16, order, photometric)
    expected = np.array(HIGH_BYTES) if photometric == 1 else 255 - np.array(HIGH_BYTES)
    np.testing.assert_array_equal(decode_image(data, LIMIT)[:, :, 0], expected)


def test_twelve_bit_tiff_is_scaled_by_twelve_bits() -> None:
    data = deep_tiff(bytes([0x00, 0x0F, 0xFF]), 2, 1, 12, "<", 1)  # 0x000, 0xfff
    assert decode_image(data, LIMIT)[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_samples_without_a_known_range_are_refused(dtype: type) -> None:
    with pytest.raises(UnsupportedImageError, match="8 or 16 bits"):
        decode_image(encode(np.zeros((4, 4), dtype=dtype), "TIFF"), LIMIT)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(format_: str, orientation: int) -> None:
    upright = np.zeros((16, 32, 3), dtype=np.uint8)
    upright[:8, :8] = 250  # a mark that tells all eight orientations apart
    upright[:8, 8:16] = 100
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(encode(np.ascontiguousarray(stored), format_, exif=exif, quality=95), LIMIT)
    np.testing.assert_allclose(decoded.astype(int), upright, atol=25)


def test_orientation_of_a_compressed_tiff_is_applied_once() -> None:
    upright = noise(3, height=10, width=20)
    stored = np.ascontiguousarray(upright.transpose(1, 0, 2)[::-1])
    decoded = decode_image(encode(stored, "TIFF", compression="tiff_lzw", tiffinfo={0x0112: 6}), LIMIT)
    np.testing.assert_array_equal(decoded, upright)


def test_empty() -> None:
    with pytest.raises(UnreadableImageError, match="empty"):
        decode_image(b"", LIMIT)


@pytest.mark.parametrize("data", [b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0"])
def test_not_an_image(data: bytes) -> None:
    with pytest.raises(UnreadableImageError):
        decode_image(data, LIMIT)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
@pytest.mark.filterwarnings("ignore:Truncated File Read")
def test_truncated(format_: str) -> None:
    data = encode(noise(4, height=64, width=64), format_)
    for end in (len(data) // 3, len(data) // 2, len(data) - 200):
        with pytest.raises(UnreadableImageError):
            decode_image(data[:end], LIMIT)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (encode(noise(5), "GIF"), "GIF"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x18ftypheic", "HEIF"),
        (b"  <svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (encode(noise(5), "JPEG2000"), "JPEG 2000"),
    ],
)
def test_other_formats_are_named(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedImageError, match=name):
        decode_image(data, LIMIT)


def test_too_many_pixels() -> None:
    with pytest.raises(TooManyPixelsError, match="40 x 25 = 1000 pixels; the limit is 999"):
        decode_image(encode(noise(6, height=25, width=40)), 999)
    assert decode_image(encode(noise(6, height=25, width=40)), 1000).shape == (25, 40, 3)


def test_bomb_is_refused_from_its_header() -> None:
    """A header of 60,000 x 60,000 pixels without the pixels: refused as too large, so nothing was decoded."""
    data = bytearray(encode(noise(7)))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(TooManyPixelsError):
        decode_image(bytes(data), LIMIT)


@given(st.binary(max_size=400))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    _decodes_or_refuses(data)


@given(
    st.sampled_from(["JPEG", "PNG", "BMP", "TIFF", "WEBP"]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_files_are_decoded_or_refused(format_: str, damage: list[tuple[int, int]]) -> None:
    data = bytearray(encode(noise(8, height=12, width=12), format_))
    for position, value in damage:
        data[position % len(data)] = value
    _decodes_or_refuses(bytes(data))


def _decodes_or_refuses(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what it then reads or refuses
        try:
            pixels = decode_image(data, LIMIT)
        except ImageError:
            return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


def test_tile_of_a_tiff_counts_as_pixels() -> None:
    assert decode_image(tiled_tiff(64, zlib.compress(bytes(64 * 64))), 64 * 64).shape == (20, 24, 3)
    with pytest.raises(TooManyPixelsError, match="tile has 64 x 64 = 4096 pixels; the limit is 4095"):
        decode_image(tiled_tiff(64, zlib.compress(bytes(64 * 64))), 64 * 64 - 1)


def test_tile_of_a_tiff_without_a_valid_size() -> None:
    tile = [(322, 1, 1, 16), (323, 4, 1, 16), (324, 4, 1, -1), (325, 4, 1, 8)]
    with pytest.raises(UnreadableImageError, match="no valid size"):
        decode_image(tiff(grey_tiff(8, 8, *tile, compression=8), bytes(8)), LIMIT)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_fax_compression_is_refused(compression: str) -> None:
    with pytest.raises(UnsupportedImageError, match="fax"):
        decode_image(save(Image.new("1", (8, 8)), "TIFF", compression=compression), LIMIT)


def test_run_length_compressed_bmp_is_refused() -> None:
    with pytest.raises(UnsupportedImageError, match="run-length"):
        decode_image(run_length_bmp(8, 8, b"\x08\x01\0\0" * 8 + b"\0\1"), LIMIT)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": exif(1)}])
def test_webp_is_refused_before_its_canvas_is_allocated(options: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    data = save(Image.new("RGB", (100, 70)), "WEBP", **options)
    assert decode_image(data, 7_000).shape == (70, 100, 3)
    monkeypatch.setattr(Image, "open", None)
    with pytest.raises(TooManyPixelsError, match="100 x 70 = 7000 pixels; the limit is 6999"):
        decode_image(data, 6_999)


def test_damaged_files_leave_nothing_behind() -> None:
    """Python keeps every distinct warning for ever; in a process of its own, because pytest changes what becomes of them."""
    program = """
import struct
from PIL import TiffImagePlugin
from service.images import ImageError, decode_image
for tag in range(1000, 1100):
    try:
        decode_image(b"II*\\0" + struct.pack("<IHHHII", 8, 1, tag, 7, 1000, 2**20), 100)
    except ImageError:
        pass
kept = getattr(TiffImagePlugin, "__warningregistry__", {})
print([text for text in kept if text != "version"])
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (found.stdout, found.stderr) == ("[]\n", "")
