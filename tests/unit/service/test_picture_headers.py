"""Small files that ask for minutes or gigabytes are refused from their structure; honest ones near the limits are read."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest

from service.images import UnreadableImageError, decode_image
from tests.hostile_pictures import chunk, greedy_pictures, grey_tiff, many_scans, many_segments, tiff, with_chunks
from tests.pictures import encode, noise

LIMIT = 1_000_000
STRIP = [(273, 4, 1, -1), (278, 4, 1, 8), (279, 4, 1, 64)]


def test_progressive_jpeg_is_not_decoded_scan_after_scan_for_minutes() -> None:
    assert decode_image(many_scans(90), LIMIT).shape == (16, 16, 3)
    with pytest.raises(UnreadableImageError, match="more than 100 scans"):
        decode_image(many_scans(101), LIMIT)


def test_scans_are_counted_where_a_comment_feigns_the_end() -> None:
    data = many_scans(101)
    behind_first = data.find(b"\xff\xda", data.find(b"\xff\xda") + 2)
    comment = b"\xff\xfe\0\x04\xff\xd9"
    with pytest.raises(UnreadableImageError, match="scans"):
        decode_image(data[:behind_first] + comment + data[behind_first:], LIMIT)


def test_what_looks_like_scans_in_metadata_or_behind_the_end_is_none() -> None:
    feigned = b"\xff\xda" * 200
    plain = encode(noise(1), "JPEG")
    np.testing.assert_array_equal(decode_image(many_segments(feigned, 1), LIMIT).shape, (8, 8, 3))
    np.testing.assert_array_equal(decode_image(plain + feigned, LIMIT), decode_image(plain, LIMIT))


def test_jpeg_of_many_exif_segments_is_not_copied_for_minutes() -> None:
    empty = b"Exif\0\0II*\0\x08\0\0\0\0\0"
    assert decode_image(many_segments(empty, 16), LIMIT).shape == (8, 8, 3)
    with pytest.raises(UnreadableImageError, match="more than 16 EXIF segments"):
        decode_image(many_segments(empty, 17), LIMIT)


def test_jpeg_of_very_many_segments() -> None:
    assert decode_image(many_segments(b"", 1_900), LIMIT).shape == (8, 8, 3)
    with pytest.raises(UnreadableImageError, match="more than 2000 segments"):
        decode_image(many_segments(b"", 2_001), LIMIT)


def test_segments_are_counted_behind_an_end_that_precedes_every_scan() -> None:
    data = many_segments(b"", 2_001)
    with pytest.raises(UnreadableImageError, match="segments"):
        decode_image(data[:2] + b"\xff\xd9" + data[2:], LIMIT)


def test_segments_are_not_hidden_in_a_reserved_one() -> None:
    """Pillow reads on inside a segment that libjpeg would skip, or refuse."""
    data = encode(noise(1), "JPEG")
    with pytest.raises(UnreadableImageError, match="reserved"):
        decode_image(data[:2] + b"\xff\xf0\xff\xff" + b"\xff\xe1\0\x02" * 10_000 + data[2:], LIMIT)


def test_png_with_more_than_one_colour_profile_is_not_decompressed_again_and_again() -> None:
    with pytest.raises(UnreadableImageError, match="more than one colour profile"):
        decode_image(with_chunks(chunk(b"iCCP", b"x\0\0" + zlib.compress(b"x")) * 2), LIMIT)


def test_png_of_very_many_chunks() -> None:
    assert decode_image(with_chunks(chunk(b"prVt", b"") * 60_000), LIMIT).shape == (8, 8, 3)
    with pytest.raises(UnreadableImageError, match="more than 65536 chunks"):
        decode_image(with_chunks(chunk(b"prVt", b"") * 65_537), LIMIT)


def test_large_exif_of_a_png_before_or_behind_its_pixels() -> None:
    plain, large = encode(noise(0, 8, 8)), chunk(b"eXIf", b"II*\0\x08\0\0\0\0\0" + bytes(2**20))
    for data in (plain[:33] + large + plain[33:], plain[:-12] + large + plain[-12:]):
        with pytest.raises(UnreadableImageError, match="bytes of EXIF"):
            decode_image(data, LIMIT)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([(273, 1, 100_000, -1), (278, 4, 1, 1)], "100007 numbers"),
        ([(273, 4, 100_000, -1), (279, 4, 50_000, -1), (278, 4, 1, 1)], "150007 numbers"),
        ([*STRIP, (274, 5, 100_000, -1)], "100009 numbers"),
        ([*STRIP, *((1000 + tag, 3, 1, 0) for tag in range(1_000))], "1009 tags"),
    ],
)
def test_tiff_of_very_many_values_is_not_made_into_objects(entries: list[tuple[int, int, int, int]], reason: str) -> None:
    data = tiff(grey_tiff(8, 8, *entries), bytes(800_000))
    with pytest.raises(UnreadableImageError, match=reason):
        decode_image(data, LIMIT)
    with pytest.raises(UnreadableImageError, match=reason.split()[1]):  # the same with its directory's last entry cut off
        decode_image(data[: 8 + 2 + 12 * len(grey_tiff(8, 8, *entries)) - 1], LIMIT)


def test_tiff_with_a_large_colour_profile_is_read() -> None:
    data = tiff(grey_tiff(8, 8, *STRIP, (34675, 7, 500_000, -1)), bytes(500_000))
    assert decode_image(data, LIMIT).shape == (8, 8, 3)


def test_directories_within_a_tiff_are_not_read() -> None:
    """Their numbers are not counted, so nothing may decode them; an EXIF of 500,000 fractions takes 100 MB."""
    data = greedy_pictures()["TIFF whose EXIF has a million fractions"]
    tracemalloc.start()
    decode_image(data, LIMIT)
    assert tracemalloc.get_traced_memory()[1] < 5 * len(data)
    tracemalloc.stop()
