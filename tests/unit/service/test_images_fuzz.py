"""Whatever bytes come, decode_image answers pixels or a documented error, in bounded time and memory.

The pictures are decoded in a process of their own: no input may end it. Its peak of resident memory is what is compared.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.decode_worker import PIXEL_LIMIT, DecodeWorker
from tests.hostile_pictures import greedy_pictures, honest_pictures

HONEST = honest_pictures()
GREEDY = greedy_pictures()
MEMORY = 128  # MB of growth at most; an honest picture of a million pixels takes about 20, a greedy file itself up to 17
LARGEST = 2**20  # bytes of a damaged picture
LINES = 10  # that libtiff prints at most: it cannot be told not to, and standard error is the service's log
ERRORS = {"UnreadableImageError", "UnsupportedImageError", "TooManyPixelsError"}
# Limits, signs and powers, where counters and sizes overflow.
EXTREMES = [0, 1, 2, 3, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]
FIELDS = ["<H", ">H", "<I", ">I"]

Damage = Callable[[bytes], bytes]
place = st.floats(0, 1, exclude_max=True)
early = st.floats(0, 0.2)  # headers come first
where = st.one_of(early, place)


def at(data: bytes, share: float) -> int:
    return int(share * len(data))


def flipped(share: float, bit: int) -> Damage:
    def damage(data: bytes) -> bytes:
        changed = bytearray(data)
        if changed:
            changed[at(data, share)] ^= 1 << bit
        return bytes(changed)

    return damage


def extreme(share: float, field: str, value: int) -> Damage:
    def damage(data: bytes) -> bytes:
        raw = struct.pack(field, value & (0xFFFF if "H" in field else 0xFFFFFFFF))
        position = at(data, share)
        return data[:position] + raw + data[position + len(raw) :]

    return damage


def truncated(share: float) -> Damage:
    return lambda data: data[: at(data, share)]


def spliced(name: str, share: float) -> Damage:
    return lambda data: data[: at(data, share)] + HONEST[name][at(HONEST[name], share) :]


def repeated(start: float, end: float, times: int) -> Damage:
    def damage(data: bytes) -> bytes:
        first, last = sorted((at(data, start), at(data, end)))
        most = max(0, LARGEST - len(data)) // max(1, last - first)
        return data[:last] + data[first:last] * min(times, most) + data[last:]

    return damage


damages = st.one_of(
    st.builds(flipped, where, st.integers(0, 7)),
    st.builds(extreme, where, st.sampled_from(FIELDS), st.sampled_from(EXTREMES)),
    st.builds(truncated, place),
    st.builds(spliced, st.sampled_from(sorted(HONEST)), where),
    st.builds(repeated, where, where, st.integers(1, 20)),
)


@st.composite
def damaged_pictures(draw: st.DrawFn) -> bytes:
    """A real file with up to four damages. A PNG's checksums are mended now and then, or none would get past them."""
    data = HONEST[draw(st.sampled_from(sorted(HONEST)))]
    for damage in draw(st.lists(damages, min_size=1, max_size=4)):
        data = damage(data)
    return mended(data) if data.startswith(b"\x89PNG") and draw(st.booleans()) else data


def mended(data: bytes) -> bytes:
    """A PNG with the right checksum after every chunk."""
    parts, position = [data[:8]], 8
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        body = data[position + 4 : position + 8 + length]
        parts.append(data[position : position + 4] + body + struct.pack(">I", zlib.crc32(body)))
        position += length + 12
    return b"".join(parts)


@pytest.fixture(scope="module")
def worker() -> Iterator[DecodeWorker]:
    with DecodeWorker() as worker:
        yield worker


def check(worker: DecodeWorker, data: bytes) -> str:
    """The name of the documented error, or "" for pixels within the limit."""
    answer = worker.decode(data)
    assert answer["grew_mb"] < MEMORY
    assert answer["printed"].count("\n") <= LINES
    if "error" in answer:
        assert answer["error"] in ERRORS, answer
        assert answer["detail"].strip()
        assert not answer["detail"].endswith(": ")
        assert " at 0x" not in answer["detail"]
        return str(answer["error"])
    height, width, channels = answer["shape"]
    assert channels == 3
    assert 0 < height * width <= PIXEL_LIMIT
    assert answer["dtype"] == "uint8"
    return ""


@pytest.mark.parametrize("name", sorted(HONEST))
def test_honest_pictures_are_read(worker: DecodeWorker, name: str) -> None:
    expected = "UnsupportedImageError" if name in ("tiff float", "tiff fax", "bmp run length") else ""
    assert check(worker, HONEST[name]) == expected


@pytest.mark.parametrize("name", sorted(GREEDY))
def test_greedy_pictures_are_refused_at_no_cost(worker: DecodeWorker, name: str) -> None:
    answered = check(worker, GREEDY[name])
    assert answered or name in ("TIFF that follows itself", "TIFF whose EXIF has a million fractions")


@settings(max_examples=400, derandomize=True, suppress_health_check=list(HealthCheck))
@given(damaged_pictures())
def test_damaged_pictures(worker: DecodeWorker, data: bytes) -> None:
    check(worker, data)


@pytest.mark.long
@settings(max_examples=20_000, derandomize=False, suppress_health_check=list(HealthCheck), database=None)
@given(damaged_pictures())
def test_many_damaged_pictures(worker: DecodeWorker, data: bytes) -> None:
    check(worker, data)
