"""Whether a picture file is whole, or still being written."""

from __future__ import annotations

import pytest

from client.camera.sources.completeness import looks_complete
from tests.pictures import encode, grey, noise


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "BMP", "WEBP"])
def test_formats_tell_whether_they_are_whole(format_: str) -> None:
    data = encode(noise(1), format_)
    assert looks_complete(data)
    assert all(looks_complete(data[:end]) is False for end in range(12, len(data) - 20, 97))


def test_other_formats_do_not_tell() -> None:
    assert looks_complete(b"") is False
    assert looks_complete(encode(grey(), "TIFF")) is None
    assert looks_complete(encode(grey(), "JPEG") + b"\0\0\r\n") is True
