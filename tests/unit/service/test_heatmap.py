"""Probability of pixels, and what the PNGs hold."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.heatmap import HEAT_OPACITY, PALETTE, encode_map, encode_overlay, pixel_probability, resize_map
from service.model_format import Sigmoid


def open_png(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data), formats=["PNG"])


def test_pixel_probability_is_the_sigmoid_of_the_calibration() -> None:
    distances = np.array([[0.1, 0.3, 0.5], [-1e6, 1e6, 0.2]], dtype=np.float32)
    probability = pixel_probability(distances, Sigmoid(tau=0.3, sigma=0.1))
    expected = [[1 / (1 + np.e**2), 0.5, 1 / (1 + np.e**-2)], [0, 1, 1 / (1 + np.e)]]
    np.testing.assert_allclose(probability, expected, atol=1e-6)


def test_map_index_is_the_rounded_probability() -> None:
    probability = np.linspace(0, 1, 256 * 3, dtype=np.float32).reshape(3, 256)
    image = open_png(encode_map(probability))
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), np.round(255 * probability))


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_map_of_one_level_keeps_all_256_colours(level: float) -> None:
    image = open_png(encode_map(np.full((8, 8), level, dtype=np.float32)))
    assert np.asarray(image).tolist() == [[round(255 * level)] * 8] * 8
    assert image.getpalette() == PALETTE.ravel().tolist()


def test_palette_grows_lighter_with_probability() -> None:
    luminance = PALETTE @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) > -0.5).all()
    assert luminance[0] < 5
    assert luminance[-1] > 240


def test_overlay_blends_in_proportion_to_probability() -> None:
    picture = np.full((2, 3, 3), 100, dtype=np.uint8)
    probability = np.array([[0, 0.5, 1], [0, 0.5, 1]], dtype=np.float32)
    overlay = np.asarray(open_png(encode_overlay(picture, probability)))
    assert overlay.shape == (2, 3, 3)
    assert overlay[0, 0].tolist() == [100, 100, 100]
    for column, level in ((1, 0.5), (2, 1.0)):
        opacity = HEAT_OPACITY * level
        expected = (1 - opacity) * 100 + opacity * PALETTE[round(255 * level)].astype(float)
        np.testing.assert_allclose(overlay[0, column], expected, atol=1.5)


def test_resized_map_stays_a_probability_and_keeps_its_place() -> None:
    probability = np.zeros((256, 256), dtype=np.float32)
    probability[:128, 128:] = 1
    resized = resize_map(probability, width=100, height=60)
    assert resized.shape == (60, 100)
    assert resized.min() >= 0
    assert resized.max() <= 1
    assert resized[5, 95] == 1
    assert resized[55, 95] == resized[5, 5] == 0
