"""Pixels to a model's input: resized at once, or reduced by the decoder first where the picture is much larger."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from service.images import GAP, UnreadableImageError, decode_image, model_input, read_picture, resize_square
from tests.hostile_pictures import exif
from tests.pictures import encode, noise

LIMIT = 1_000_000


@pytest.mark.parametrize("shape", [(14, 14), (28, 14), (14, 42)])
def test_model_input_is_the_whole_picture(shape: tuple[int, int]) -> None:
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:, 20:] = 200
    resized = model_input(pixels, shape)
    assert resized.shape == (*shape, 3)
    assert resized[:, 0].max() == 0
    assert resized[:, -1].min() == 200


def test_a_square_is_resized_as_a_model_s_input_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_square(pixels, 14), model_input(pixels, (14, 14)))
    np.testing.assert_array_equal(resize_square(pixels[:, :20], 20), pixels[:, :20])


def photograph(height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Smooth shapes, a line and a little noise: what a JPEG is made for."""
    y, x = np.mgrid[:height, :width]
    values = 120 + 60 * np.sin(x / 40) + 50 * np.cos((x + 2 * y) / 70) + np.random.default_rng(0).normal(0, 3, (height, width))
    values[:, width // 3 : width // 3 + 9] = 30
    return np.clip(np.stack([values, values * 0.8, values * 0.6], axis=2), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "shape", "reduced"),
    [
        ((480, 640), (112, 112), (240, 320)),
        ((900, 1200), (112, 112), (225, 300)),
        ((223, 1000), (112, 112), (223, 1000)),  # half of it would be less than twice the input
        ((447, 447), (112, 112), (447, 447)),
        ((448, 448), (112, 112), (224, 224)),
        ((448, 448), (112, 168), (448, 448)),
        ((900, 1200), (560, 756), (900, 1200)),  # a model of many tiles loses nothing
    ],
)
def test_jpeg_is_decoded_no_larger_than_the_input_needs(
    size: tuple[int, int], shape: tuple[int, int], reduced: tuple[int, int]
) -> None:
    picture = read_picture(encode(photograph(*size), "JPEG", quality=95), LIMIT * 2, shape)
    assert (picture.height, picture.width) == size
    assert picture.image.size == reduced[::-1]
    if reduced != size:
        assert min(reduced) >= GAP * max(shape)


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_reducing_first_hardly_changes_the_input(format_: str) -> None:
    data = encode(photograph(900, 1200), format_)
    whole = Image.fromarray(decode_image(data, LIMIT * 2)).resize((112, 112), Image.Resampling.BICUBIC)
    difference = read_picture(data, LIMIT * 2, (112, 112)).resized((112, 112)).astype(int) - np.asarray(whole)
    assert np.abs(difference).mean() < 0.6
    assert np.abs(difference).max() <= 8


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_picture_less_than_twice_the_gap_is_resized_in_one_step(format_: str) -> None:
    data = encode(photograph(440, 400), format_)
    expected = Image.fromarray(decode_image(data, LIMIT)).resize((112, 112), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(read_picture(data, LIMIT, (112, 112)).resized((112, 112)), expected)
    np.testing.assert_array_equal(model_input(decode_image(data, LIMIT), (112, 112)), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reduced_jpeg_is_upright(orientation: int) -> None:
    data = encode(photograph(300, 520), "JPEG", exif=exif(orientation))
    upright = decode_image(data, LIMIT)
    picture = read_picture(data, LIMIT, (56, 56))
    assert (picture.height, picture.width) == upright.shape[:2]
    assert picture.image.size == (-(-picture.width // 2), -(-picture.height // 2))
    difference = picture.resized((56, 56)).astype(int) - model_input(upright, (56, 56))
    assert np.abs(difference).mean() < 0.6


def test_turned_tiff_has_its_upright_size() -> None:
    data = encode(noise(3, height=10, width=20), "TIFF", compression="tiff_lzw", tiffinfo={0x0112: 6})
    picture = read_picture(data, LIMIT, (14, 14))
    assert (picture.width, picture.height) == picture.image.size == (10, 20)


def test_truncated_jpeg_is_refused_at_any_scale() -> None:
    data = encode(photograph(900, 1200), "JPEG")
    for end in (len(data) // 3, len(data) - 200):
        with pytest.raises(UnreadableImageError):
            read_picture(data[:end], LIMIT * 2, (56, 56))
