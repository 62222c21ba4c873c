"""Compressed bodies: inflated up to a limit, and deflated for the client that asks."""

from __future__ import annotations

import gzip
import zlib
from typing import Final, Literal

from ..errors import MalformedBodyError, TooManyBytesError, UnsupportedEncodingError

Coding = Literal["gzip", "deflate"]

_WINDOW_BITS: Final[dict[str, int]] = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}  # RFC 9110: deflate is zlib
_LEVEL = 1  # maps of floats hardly get smaller at higher levels, and take many times longer


def inflate(body: bytes, coding: str, max_bytes: int) -> bytes:
    """Undo the Content-Encoding `coding` of a body; what lies beyond `max_bytes` is never inflated.

    Raises UnsupportedEncodingError, TooManyBytesError, and MalformedBodyError for damaged, truncated or trailing bytes.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding not in _WINDOW_BITS:
        raise UnsupportedEncodingError(f"Content-Encoding '{coding}' is not accepted: send gzip, deflate, or the plain body")
    stream = zlib.decompressobj(_WINDOW_BITS[coding])
    try:
        inflated = stream.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise MalformedBodyError(f"the body is not {coding}, as Content-Encoding says: {error}") from error
    if len(inflated) > max_bytes:
        raise TooManyBytesError(
            f"the body inflates to more than {max_bytes} bytes (DUET_MAX_BYTES): send fewer pictures, or picture files"
        )
    if not stream.eof:
        raise MalformedBodyError(f"the {coding} body is truncated: send all of it")
    if stream.unused_data:
        raise MalformedBodyError(f"{len(stream.unused_data)} bytes follow the end of the {coding} body: send one stream alone")
    return inflated


def chosen_coding(accept_encoding: str) -> Coding | None:
    """The coding of an answer: that which the client names alone. A list is what HTTP libraries send unasked."""
    named = accept_encoding.strip().lower()
    return "gzip" if named == "gzip" else "deflate" if named == "deflate" else None


def compress(body: bytes, coding: Coding) -> bytes:
    """Apply a Content-Encoding."""
    return gzip.compress(body, _LEVEL) if coding == "gzip" else zlib.compress(body, _LEVEL)
