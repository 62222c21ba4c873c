"""Compressed bodies, honest and hostile."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MalformedBodyError, ServiceError, TooManyBytesError, UnsupportedEncodingError
from service.open_inference.compression import chosen_coding, compress, inflate


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate"]))
def test_round_trip_up_to_the_limit(body: bytes, coding: str) -> None:
    assert inflate(compress(body, coding), coding.upper(), len(body)) == body
    if body:
        with pytest.raises(TooManyBytesError, match="DUET_MAX_BYTES"):
            inflate(compress(body, coding), coding, len(body) - 1)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_not_inflated(coding: str) -> None:
    bomb = compress(bytes(200_000_000), coding)
    tracemalloc.start()
    with pytest.raises(TooManyBytesError):
        inflate(bomb, coding, 1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


@given(st.binary(max_size=100), st.sampled_from(["gzip", "deflate"]))
def test_random_bytes_are_refused_in_words(body: bytes, coding: str) -> None:
    try:
        inflate(body, coding, 1000)
    except ServiceError:
        return
    assert coding == "gzip" or zlib.decompress(body) is not None


# without the time, which would give each process of a test run another name for the same test
GZIP, DEFLATE = gzip.compress(b"x", mtime=0), zlib.compress(b"x")


@pytest.mark.parametrize(
    ("body", "coding", "reason"),
    [
        (GZIP[:-1], "gzip", "truncated"),
        (DEFLATE[:-1], "deflate", "truncated"),
        (b"", "gzip", "truncated"),
        (GZIP + b"rest", "gzip", "4 bytes follow"),
        (GZIP * 2, "gzip", "bytes follow"),
        (DEFLATE, "gzip", "is not gzip"),
        (GZIP, "deflate", "is not deflate"),
        (GZIP[:-8] + bytes(8), "gzip", "is not gzip"),
    ],
)
def test_damaged_bodies(body: bytes, coding: str, reason: str) -> None:
    with pytest.raises(MalformedBodyError, match=reason):
        inflate(body, coding, 1000)


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "x" * 10])
def test_other_codings(coding: str) -> None:
    with pytest.raises(UnsupportedEncodingError, match="send gzip, deflate"):
        inflate(b"x", coding, 1000)


@pytest.mark.parametrize("coding", ["", "identity", " Identity "])
def test_plain_bodies(coding: str) -> None:
    assert inflate(b"x", coding, 1000) == b"x"


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip", "gzip"), ("Deflate", "deflate"), ("gzip, deflate, br", None), ("", None), ("*", None), ("gzip;q=0", None)],
)
def test_only_a_client_that_names_one_coding_gets_it(accepted: str, coding: str | None) -> None:
    assert chosen_coding(accepted) == coding
