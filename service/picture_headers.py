"""What a picture's own structure may cost, checked on its bytes before Pillow reads them.

A few kilobytes can ask for minutes or gigabytes without declaring many pixels: ten thousand scans over one JPEG, a TIFF whose
tags hold millions of numbers. Honest files come nowhere near these limits.
"""

from __future__ import annotations

import re
import struct

MAX_JPEG_SCANS = 100  # an encoder makes about 10; each is a pass over the whole picture (libtiff allows as many)
MAX_JPEG_SEGMENTS = 2_000  # 64 MiB hold 1,024 full ones
MAX_JPEG_EXIF = 16  # segments, 1 MiB; Pillow copies all before it for each, so the time grows as their square
MAX_PNG_CHUNKS = 65_536
MAX_TIFF_TAGS = 1_000
MAX_TIFF_VALUES = 100_000  # Python objects of 40 to 300 bytes each
MAX_EXIF_BYTES = 2**20

_EXIF = b"Exif\0\0"
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")  # those without a length left out
_SCAN, _END = 0xDA, 0xD9
_RESERVED = {0xC8, *range(0xF0, 0xFE)}  # libjpeg refuses them, Pillow reads on inside them

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PROFILE = b"iCCP"

_TIFF_ORDERS = {b"II*\0": "<", b"II\0*": "<", b"II+\0": "<", b"MM\0*": ">", b"MM*\0": ">", b"MM\0+": ">"}
_TIFF_BYTES = {1, 2, 7}  # types that Pillow keeps as they are
_TIFF_OFFSETS = {273, 324}  # of strips and tiles: an object each, whatever their type


def excess(data: bytes) -> str | None:
    """What is excessive about a JPEG, PNG or TIFF, and the remedy; None if nothing is, or for any other data."""
    if data.startswith(b"\xff\xd8"):
        return _jpeg_excess(data)
    if data.startswith(_PNG_SIGNATURE):
        return _png_excess(data)
    if data[:4] in _TIFF_ORDERS:
        return _tiff_excess(data)
    return None


def webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Width and height that a WebP's first chunk declares: opening one allocates its canvas. None for any other data."""
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if data[12:16] == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_excess(data: bytes) -> str | None:
    """Walks the markers as libjpeg does: what looks like one inside a segment is none, what follows the end is not read."""
    if data.count(_EXIF) > MAX_JPEG_EXIF:
        return f"the JPEG has more than {MAX_JPEG_EXIF} EXIF segments: save it anew"
    scans = segments = 0
    position = 2
    while found := _MARKER.search(data, position):
        marker, position = found[1][0], found.end()
        if marker == _END and scans:
            return None
        if marker == _END:
            continue
        segments += 1
        scans += marker == _SCAN
        if scans > MAX_JPEG_SCANS:
            return f"the JPEG has more than {MAX_JPEG_SCANS} scans: save it anew"
        if segments > MAX_JPEG_SEGMENTS:
            return f"the JPEG has more than {MAX_JPEG_SEGMENTS} segments: save it anew"
        if marker in _RESERVED:
            return f"the JPEG has a segment of the reserved kind {marker:#x}: save it anew"
        position += int.from_bytes(data[position : position + 2])
    return None


def _png_excess(data: bytes) -> str | None:
    chunks = profiles = 0
    position = len(_PNG_SIGNATURE)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        position += length + 12
        chunks += 1
        profiles += kind == _PNG_PROFILE
        if chunks > MAX_PNG_CHUNKS:
            return f"the PNG has more than {MAX_PNG_CHUNKS} chunks: save it anew"
        if profiles > 1:  # the specification allows one; each is decompressed
            return "the PNG has more than one colour profile: save it anew"
    return None


def _tiff_excess(data: bytes) -> str | None:
    """Looks at the first directory, the only one that is read."""
    order, big = _TIFF_ORDERS[data[:4]], data[2:3] == b"+"
    try:
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        (tags,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
        if tags > MAX_TIFF_TAGS:
            return f"the TIFF has {tags} tags; the limit is {MAX_TIFF_TAGS}: save it anew"
        entry = struct.Struct(order + ("HHQQ" if big else "HHII"))
    except (struct.error, OverflowError):
        return None  # no directory where it should be: Pillow says so
    first = start + (8 if big else 2)
    whole = min(tags, (len(data) - first) // entry.size)
    entries = entry.iter_unpack(data[first : first + whole * entry.size])
    values = sum(count for tag, kind, count, _ in entries if kind not in _TIFF_BYTES or tag in _TIFF_OFFSETS)
    if values > MAX_TIFF_VALUES:
        return f"the TIFF's tags hold {values} numbers, strips included, over {MAX_TIFF_VALUES}: save it in larger strips"
    return None
