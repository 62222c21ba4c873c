from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from service.images import model_input, read_picture
from training.data import ANOMALOUS, GOOD, DataError, Sample

Save = Callable[..., Path]


def test_pixels_of_a_file_are_those_of_the_picture(tmp_path: Path, save_picture: Save) -> None:
    path = save_picture(tmp_path / "a.png", width=9, height=5)
    pixels = Sample("a", path, GOOD, "part").pixels()
    assert pixels.shape == (5, 9, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(path)))


def test_grey_arrays_become_rgb_and_colour_stays() -> None:
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    pixels = Sample("g", grey, GOOD, "part").pixels()
    assert pixels.shape == (2, 3, 3)
    assert all((pixels[:, :, channel] == grey).all() for channel in range(3))
    np.testing.assert_array_equal(Sample("c", pixels, GOOD, "part").pixels(), pixels)


def test_model_input_is_the_service_s(tmp_path: Path) -> None:
    """Also of a JPEG that the service decodes at a smaller scale."""
    path = tmp_path / "large.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(path)
    served = read_picture(path.read_bytes(), 10**6, (56, 56))
    assert served.image.size == (200, 150)
    sample = Sample("a", path, GOOD, "part")
    np.testing.assert_array_equal(sample.model_input((56, 56)), served.resized((56, 56)))
    array = Sample("b", sample.pixels(), GOOD, "part")
    np.testing.assert_array_equal(array.model_input((56, 56)), model_input(sample.pixels(), (56, 56)))


def test_unreadable_pictures_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"text\.png cannot be decoded"):
        Sample("t", tmp_path / "text.png", GOOD, "part").pixels()
    with pytest.raises(DataError, match=r"gone\.png cannot be read"):
        Sample("g", tmp_path / "gone.png", GOOD, "part").pixels()


def test_masks_are_joined_and_any_value_marks(tmp_path: Path, save_picture: Save, save_mask: Save) -> None:
    masks = (save_mask(tmp_path / "0.png", (0, 0), value=1), save_mask(tmp_path / "1.png", (5, 7), value=255))
    sample = Sample("a", save_picture(tmp_path / "a.png"), ANOMALOUS, "part", "scratch", masks)
    mask = sample.mask()
    assert sample.has_mask
    assert mask.dtype == np.bool_
    assert mask.shape == (6, 8)
    assert [tuple(place) for place in np.argwhere(mask)] == [(0, 0), (5, 7)]


def test_colour_masks_mark_by_colour_and_not_by_opacity(tmp_path: Path, save_picture: Save) -> None:
    pixels = np.zeros((6, 8, 4), dtype=np.uint8)
    pixels[:, :, 3] = 255
    pixels[2, 3, 1] = 9
    Image.fromarray(pixels).save(tmp_path / "m.png")
    sample = Sample("a", save_picture(tmp_path / "a.png"), ANOMALOUS, "part", "stain", (tmp_path / "m.png",))
    assert [tuple(place) for place in np.argwhere(sample.mask())] == [(2, 3)]


def test_masks_with_a_palette_mark_by_colour(tmp_path: Path, save_picture: Save) -> None:
    """Whichever index black has: some programs give the most frequent colour the first, others the last."""
    pixels = np.zeros((6, 8, 3), dtype=np.uint8)
    pixels[2, 3] = 255
    Image.fromarray(pixels).quantize(2).save(tmp_path / "by-colour.png")
    kinds = Image.fromarray(np.where(pixels[:, :, 0], np.uint8(7), np.uint8(0)))
    kinds.putpalette([0, 0, 0] * 256)
    kinds.save(tmp_path / "by-kind.png")
    for name in ("by-colour.png", "by-kind.png"):
        with Image.open(tmp_path / name) as image:
            assert image.mode == "P"
        sample = Sample("a", save_picture(tmp_path / "a.png"), ANOMALOUS, "part", "stain", (tmp_path / name,))
        assert [tuple(place) for place in np.argwhere(sample.mask())] == [(2, 3)]


def test_resized_masks_keep_pixels_that_are_half_defective(tmp_path: Path, save_picture: Save, save_mask: Save) -> None:
    left = [(y, x) for y in range(8) for x in range(4)]
    mask = save_mask(tmp_path / "m.png", *left, shape=(8, 8))
    sample = Sample("a", save_picture(tmp_path / "a.png", 8, 8), ANOMALOUS, "part", "stain", (mask,))
    for size in (2, 4, 16):
        resized = sample.mask(size)
        assert resized.shape == (size, size)
        assert resized[:, : size // 2].all()
        assert not resized[:, size // 2 :].any()


def test_a_resized_mask_keeps_a_defect_smaller_than_half_a_pixel(tmp_path: Path, save_picture: Save, save_mask: Save) -> None:
    mask = save_mask(tmp_path / "m.png", (25, 9), (25, 10), (26, 10), shape=(32, 64))
    sample = Sample("a", save_picture(tmp_path / "a.png", 64, 32), ANOMALOUS, "part", "pinhole", (mask,))
    assert [tuple(place) for place in np.argwhere(sample.mask(4))] == [(3, 0)]


def test_a_mask_of_another_shape_is_refused(tmp_path: Path, save_picture: Save, save_mask: Save) -> None:
    """Stretched over the picture it would mark another place. Smaller or larger it may be."""
    picture = save_picture(tmp_path / "a.png", 64, 48)
    other = Sample("a", picture, ANOMALOUS, "part", "stain", (save_mask(tmp_path / "m.png", (1, 2), shape=(32, 100)),))
    with pytest.raises(DataError, match=r"m\.png is 100 x 32, and its picture 64 x 48"):
        other.mask(8)
    half = Sample("a", picture, ANOMALOUS, "part", "stain", (save_mask(tmp_path / "h.png", (1, 2), shape=(24, 32)),))
    assert half.mask(8).any()
    with Image.open(picture) as image:
        exif = image.getexif()
        exif[ExifTags.Base.Orientation] = 6
        image.save(tmp_path / "turned.jpg", exif=exif)
    upright = save_mask(tmp_path / "t.png", (1, 2), shape=(64, 48))
    turned = Sample("t", tmp_path / "turned.jpg", ANOMALOUS, "part", "stain", (upright,))
    assert turned.mask(8).any()


def test_a_mask_that_is_a_jpeg_is_refused(tmp_path: Path, save_picture: Save, save_mask: Save) -> None:
    mask = save_mask(tmp_path / "m.jpg", (1, 2))
    sample = Sample("a", save_picture(tmp_path / "a.png"), ANOMALOUS, "part", "stain", (mask,))
    with pytest.raises(DataError, match=r"m\.jpg is a JPEG, whose edges are not sharp: save it as PNG"):
        sample.mask()


def test_good_pictures_have_an_empty_mask_of_the_pictures_size(tmp_path: Path, save_picture: Save) -> None:
    sample = Sample("a", save_picture(tmp_path / "a.png", width=9, height=5), GOOD, "part")
    assert sample.has_mask
    assert sample.mask().shape == (5, 9)
    assert sample.mask(16).shape == (16, 16)
    assert not sample.mask().any()


def test_what_is_wrong_with_masks_is_said(tmp_path: Path, save_picture: Save, save_mask: Save) -> None:
    picture = save_picture(tmp_path / "a.png")
    bare = Sample("tile/a", picture, ANOMALOUS, "tile", "crack")
    assert not bare.has_mask
    with pytest.raises(DataError, match="tile/a is anomalous, but has no mask"):
        bare.mask()
    unequal = (save_mask(tmp_path / "0.png", (0, 0)), save_mask(tmp_path / "1.png", (0, 0), shape=(3, 3)))
    with pytest.raises(DataError, match="differ in size"):
        Sample("a", picture, ANOMALOUS, "tile", "crack", unequal).mask()
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"bad\.png cannot be read"):
        Sample("a", picture, ANOMALOUS, "tile", "crack", (tmp_path / "bad.png",)).mask(8)
