"""Small pictures for those who listen to results: made only while somebody does."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from .heatmap import Map, encode_map, resize_map

_PICTURE_SIDE = 320  # pixels of the longer side
_HEATMAP_SIDE = 128
_QUALITY = 80


@dataclass(frozen=True)
class Preview:
    """A JPEG of the upright picture, and a palette PNG of its heatmap if the model makes one."""

    picture: bytes
    heatmap: bytes | None


def preview_picture(image: Image.Image) -> bytes:
    """A small JPEG of an RGB picture, of its aspect ratio."""
    small = image.copy()
    small.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def preview_heatmap(probability: Map) -> bytes:
    """A small palette PNG of probabilities [H, W], square."""
    return encode_map(resize_map(probability, _HEATMAP_SIDE, _HEATMAP_SIDE))
