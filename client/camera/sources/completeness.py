"""Whether the bytes of a picture file are all there, as far as its format tells."""

from __future__ import annotations

_PADDING = b"\x00\r\n"  # that some cameras add behind a JPEG


def looks_complete(data: bytes) -> bool | None:
    """True for a whole JPEG, PNG, BMP or WebP, False for one cut off (or empty), None where the format does not tell."""
    if not data:
        return False
    if data.startswith(b"\xff\xd8"):
        return data.rstrip(_PADDING).endswith(b"\xff\xd9")
    if data.startswith(b"\x89PNG"):
        return b"IEND" in data[-16:]
    if data.startswith(b"BM"):
        return len(data) >= int.from_bytes(data[2:6], "little")
    if data.startswith(b"RIFF"):
        return len(data) >= int.from_bytes(data[4:8], "little") + 8
    return None
