"""Anomaly map → probability of each pixel → palette PNG, or the picture under heat."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from .images import Pixels
from .model_format import Sigmoid

Map = npt.NDArray[np.float32]

HEAT_OPACITY = 0.6  # at probability 1: what lies beneath stays visible
_COMPRESS_LEVEL = 1  # noisy pictures hardly get smaller at higher levels, and take many times longer

# Samples of matplotlib's perceptually uniform "inferno": black is good, bright yellow is bad, also on a grey print.
_ANCHORS = (
    (0, 0, 4),
    (31, 12, 72),
    (85, 15, 109),
    (136, 34, 106),
    (186, 54, 85),
    (227, 89, 51),
    (249, 140, 10),
    (249, 201, 50),
    (252, 255, 164),
)
_STEPS = np.linspace(0, len(_ANCHORS) - 1, 256)
PALETTE: Pixels = (
    np.stack([np.interp(_STEPS, range(len(_ANCHORS)), channel) for channel in zip(*_ANCHORS, strict=True)], axis=1)
    .round()
    .astype(np.uint8)
)


def pixel_probability(anomaly_map: Map, sigmoid: Sigmoid) -> Map:
    """Distances [H, W] to probabilities in [0, 1], on one absolute scale for every picture."""
    half_logit = (anomaly_map - np.float32(sigmoid.tau)) * np.float32(0.5 / sigmoid.sigma)
    probability: Map = np.tanh(half_logit) * np.float32(0.5) + np.float32(0.5)  # the sigmoid, in a form that cannot overflow
    return probability


def resize_map(probability: Map, width: int, height: int) -> Map:
    """Bilinear resize of probabilities to [height, width]."""
    return np.asarray(Image.fromarray(probability).resize((width, height), Image.Resampling.BILINEAR))


def encode_map(probability: Map) -> bytes:
    """8-bit palette PNG [H, W] whose index is round(255 * probability): reads as numbers, looks like a picture."""
    image = Image.fromarray(_index(probability))
    image.putpalette(PALETTE.tobytes())
    return _png(image)


def encode_overlay(pixels: Pixels, probability: Map) -> bytes:
    """RGB PNG of a picture [H, W, 3] with the heat of probabilities [H, W] blended in, in proportion to them."""
    heat = Image.fromarray(PALETTE[_index(probability)])
    opacity = Image.fromarray(np.round(255 * HEAT_OPACITY * probability).astype(np.uint8))
    return _png(Image.composite(heat, Image.fromarray(pixels), opacity))


def _index(probability: Map) -> Pixels:
    return np.round(255 * probability).astype(np.uint8)


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=_COMPRESS_LEVEL)
    return buffer.getvalue()
