"""Bytes of a picture to the pixels that the model sees. Shared with training, so that both compute the same score.

Rules: RGB, upright as EXIF says, first frame only. Of samples with more than 8 bits the high byte is kept (full range: 65535
becomes 255), so that no pixel depends on the others. Transparent pixels are laid over white. Colour profiles are not applied.

A picture several times as large as the model's input is first reduced by a whole factor, to at least GAP times the input, and
then resized: a filter over all its pixels costs more than decoding them. A JPEG is reduced while it is decoded.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from .model_format import Shape
from .picture_headers import MAX_EXIF_BYTES, excess, webp_canvas

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
GAP = 2.0  # how many times as large as the input, each way, a reduced picture stays; see docs/performance.md

# decode_image checks its own limit before it decodes; Pillow's would be a second one, and fixed.
Image.MAX_IMAGE_PIXELS = None

# Pillow warns of what it then reads or refuses. Python would keep each distinct text for ever, and damaged files make many.
warnings.filterwarnings("ignore", module=r"PIL\.")

_ORIENTATION_TAG = 0x0112
_UPRIGHT: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = [_UPRIGHT[orientation] for orientation in (5, 6, 7, 8)]

_BITS_TAG = 258
_PHOTOMETRIC_TAG = 262
_WHITE_IS_ZERO = 0
_TILE_TAGS = (322, 323)  # width and height
_DIRECTORY_TAGS = (0x8769, 0x8825, 0xA005)  # EXIF, GPS, interoperability
_RUN_LENGTH = (1, 2)  # compressions of BMP
_FAX = ("tiff_ccitt", "group3", "group4", "tiff_raw_16")  # compressions of TIFF

# Only to tell "a format not accepted" from "not an image".
_OTHER_FORMATS = {
    b"GIF8": "GIF",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
    b"\x00\x00\x01\x00": "ICO",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"v/1\x01": "OpenEXR",
    b"<svg": "SVG",
    b"<?xml": "XML",
}


class ImageError(ValueError):
    """A picture that cannot become model input; the message says why and what to send instead."""


class UnreadableImageError(ImageError):
    """Empty, truncated, damaged, or no picture at all."""


class UnsupportedImageError(ImageError):
    """A picture in a format, or with samples, that are not accepted."""


class TooManyPixelsError(ImageError):
    """A picture larger than the limit; known from its header, before anything is decoded."""


@dataclass(frozen=True)
class Picture:
    """A decoded picture, RGB and upright. `width` and `height` are those that were sent, `image` may have been reduced."""

    image: Image.Image
    width: int
    height: int

    def resized(self, shape: Shape) -> Pixels:
        """One row of the graph's input `image`, uint8 [height, width, 3] of `shape`.

        Bicubic and antialiased; the aspect ratio is not kept.
        """
        height, width = shape
        return np.asarray(self.image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=GAP))


def read_picture(data: bytes, max_pixels: int, shape: Shape | None = None) -> Picture:
    """Decode JPEG, PNG, BMP, TIFF or WebP; for a model input of `shape` no larger than it needs.

    Raises UnreadableImageError, UnsupportedImageError, TooManyPixelsError if width times height exceeds `max_pixels`, or
    MemoryError where the machine has too little for an honest picture.
    """
    if not data:
        raise UnreadableImageError("the picture is empty: 0 bytes")
    if reason := excess(data):
        raise UnreadableImageError(reason)
    if canvas := webp_canvas(data):
        _check_pixels("picture", *canvas, max_pixels)
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            _check_pixels("picture", width, height, max_pixels)
            _check_cost(image, max_pixels)
            side = round(GAP * max(shape)) if shape else 0  # for both sides, because the picture may lie on one
            reduced = image.draft(None, (side, side)) if shape else None  # a JPEG to 1, 1/2, 1/4 or 1/8; no other format
            image.load()
            # After load(): PNG may hold EXIF behind its pixels, and Pillow turns a TIFF itself.
            orientation = _orientation(image)
            if not reduced:
                width, height = image.size
            eight_bit = _eight_bit(image)
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        if other := _other_format(data):
            raise UnsupportedImageError(f"{other} is not accepted: send {_accepted()}") from error
        raise UnreadableImageError(f"not a readable picture: send {_accepted()}") from error
    except Exception as error:  # damaged bytes make Pillow raise OSError, SyntaxError, struct.error, and many more
        raise UnreadableImageError(f"the picture is truncated or damaged: {error}") from error
    turn = _UPRIGHT.get(orientation)
    upright = eight_bit if turn is None else eight_bit.transpose(turn)
    if turn in _SWAPS_SIDES:
        width, height = height, width
    return Picture(_opaque_rgb(upright), width, height)


def decode_image(data: bytes, max_pixels: int) -> Pixels:
    """All of a picture's pixels, RGB uint8 [H, W, 3], upright; raises as `read_picture`."""
    return np.asarray(read_picture(data, max_pixels).image)


def model_input(pixels: Pixels, shape: Shape) -> Pixels:
    """RGB uint8 [H, W, 3] to one row of the graph's input, as `Picture.resized` does it."""
    height, width = pixels.shape[:2]
    return Picture(Image.fromarray(pixels), width, height).resized(shape)


def resize_square(pixels: Pixels, size: int) -> Pixels:
    """What is square whatever the model: uint8 [H, W, 3] to [size, size, 3], as `model_input` does it."""
    return model_input(pixels, (size, size))


def _check_pixels(what: str, width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooManyPixelsError(f"the {what} has {width} x {height} = {width * height} pixels; the limit is {max_pixels}")


def _check_cost(image: Image.Image, max_pixels: int) -> None:
    """Refuse, or forbid Pillow, what costs more than the number of pixels says."""
    if image.format == "BMP" and image.info.get("compression") in _RUN_LENGTH:  # Pillow decodes it in Python, for seconds
        raise UnsupportedImageError("run-length compressed BMP is not accepted: save it uncompressed, or as PNG")
    if image.format == "TIFF":
        if image.info.get("compression") in _FAX:  # of damaged ones libtiff prints a line a row, into the service's log
            raise UnsupportedImageError("fax-compressed TIFF is not accepted: save it with another compression, or as PNG")
        width, height = (_tag(image, tag, 0) for tag in _TILE_TAGS)  # a tile is decoded whole, however small the picture
        if not (isinstance(width, int) and isinstance(height, int)):
            raise UnreadableImageError(f"the TIFF's tiles have no valid size: {width} x {height}")
        _check_pixels("TIFF's tile", width, height, max_pixels)
        exif = image.getexif()
        for tag in _DIRECTORY_TAGS:  # load() would decode every tag of them
            if tag in exif:
                del exif[tag]


def _orientation(image: Image.Image) -> object:
    if len(image.info.get("exif", b"")) > MAX_EXIF_BYTES:
        raise UnreadableImageError(f"the picture has more than {MAX_EXIF_BYTES} bytes of EXIF: save it anew")
    return image.getexif().get(_ORIENTATION_TAG, 1)


def _tag(image: Image.Image, tag: int, default: object) -> object:
    """A tag of a TIFF."""
    return image.tag_v2.get(tag, default)  # type: ignore[attr-defined]


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow reduces deep colour itself, to the high byte; deep grey is left to us."""
    if image.mode in ("I", "F"):
        raise UnsupportedImageError("32-bit samples have no known range: save the picture with 8 or 16 bits a channel")
    if not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image)
    bits, white_is_zero = 16, False
    if image.format == "TIFF":
        declared = _tag(image, _BITS_TAG, (16,))
        bits = int(declared[0]) if isinstance(declared, tuple) else 16
        white_is_zero = _tag(image, _PHOTOMETRIC_TAG, None) == _WHITE_IS_ZERO
    high_byte = (values >> (bits - 8)).astype(np.uint8)
    return Image.fromarray(255 - high_byte if white_is_zero else high_byte)


def _opaque_rgb(image: Image.Image) -> Image.Image:
    try:
        if not image.has_transparency_data:
            return image.convert("RGB")
        with_alpha = image.convert("RGBA")
    except ValueError as error:
        raise UnsupportedImageError(f"colour mode {image.mode} is not accepted: save the picture as grey or RGB") from error
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, with_alpha).convert("RGB")


def _other_format(data: bytes) -> str | None:
    if data[4:8] == b"ftyp":
        return "HEIF, AVIF or a film"
    start = data.lstrip()[:16] if data[:64].lstrip()[:1] == b"<" else data[:16]
    return next((name for magic, name in _OTHER_FORMATS.items() if start.startswith(magic)), None)


def _accepted() -> str:
    return "JPEG, PNG, BMP, TIFF or WebP"
