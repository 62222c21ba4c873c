"""Real pictures of every accepted kind to be damaged, and files made to cost more than they declare."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, PngImagePlugin

from tests.pictures import encode, noise

WIDTH, HEIGHT = 24, 20
_DEEP = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # x, y, steps

Entry = tuple[int, int, int, int]  # tag, type, count, value


def save(image: Image.Image, format_: str, **options: object) -> bytes:
    """A picture file."""
    buffer = BytesIO()
    image.copy().save(buffer, format_, **options)  # a copy, because a picture remembers options of its last format
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples: npt.NDArray[np.generic], colour_type: int, *, interlaced: bool = False) -> bytes:
    """A PNG [H, W] or [H, W, channels] of 8 or 16 bits, which Pillow reads, but does not write in all these ways."""
    height, width = samples.shape[:2]
    bits = 8 * samples.dtype.itemsize
    passes = [samples[y::down, x::right] for x, y, right, down in _ADAM7] if interlaced else [samples]
    rows = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for part in passes if part.shape[1] for row in part)
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def with_chunks(chunks: bytes) -> bytes:
    """A tiny PNG with more chunks in its header."""
    plain = encode(noise(0, 8, 8))
    return plain[:33] + chunks + plain[33:]


def tiff(entries: Sequence[Entry], content: bytes = b"", order: str = "<") -> bytes:
    """A TIFF of one directory. A value of -1 - n is the position of byte n of `content`, which follows the directory."""
    start = 8 + 2 + 12 * len(entries) + 4
    directory = b""
    for tag, kind, count, value in sorted(entries):
        if kind == 3 and count == 1 and order == ">":
            value <<= 16
        directory += struct.pack(order + "HHII", tag, kind, count, value if value >= 0 else start - 1 - value)
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(order + "IH", 8, len(entries))
    return head + directory + bytes(4) + content


def grey_tiff(width: int, height: int, *more: Entry, bits: int = 8, compression: int = 1, photometric: int = 1) -> list[Entry]:
    """The entries of a grey TIFF, to which its strips or tiles are added."""
    return [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, compression), (262, 3, 1, photometric),
            (277, 3, 1, 1), *more]  # fmt: skip


def tiled_tiff(side: int, compressed: bytes, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A grey TIFF of one deflated tile."""
    tile = [(322, 4, 1, side), (323, 4, 1, side), (324, 4, 1, -1), (325, 4, 1, len(compressed))]
    return tiff(grey_tiff(width, height, *tile, compression=8), compressed)


def run_length_bmp(width: int, height: int, runs: bytes) -> bytes:
    """A BMP of 8-bit run-length compression."""
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 1024 + len(runs), 0, 0, 54 + 1024) + header + bytes(range(256)) * 4 + runs


def many_scans(scans: int, side: int = 16) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = save(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    last = data.rfind(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + b"\xff\xd9"


def many_segments(segment: bytes, count: int) -> bytes:
    """A JPEG with so many equal segments APP1 before its header."""
    data = encode(noise(0, 8, 8), "JPEG")
    return data[:2] + (b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment) * count + data[2:]


def webp_canvas(width: int, height: int) -> bytes:
    """A small WebP that declares a canvas of any size."""
    data = bytearray(save(Image.new("RGBA", (8, 8), (1, 2, 3, 4)), "WEBP", exif=exif()))
    data[24:27], data[27:30] = (width - 1).to_bytes(3, "little"), (height - 1).to_bytes(3, "little")
    return bytes(data)


def exif(orientation: int = 6) -> bytes:
    """EXIF data with several kinds of tag and a directory within."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010F], tags[0x011A], tags[0x0128] = orientation, "Maker", 300.0, 2
    tags[0x8769] = {0x9003: "2026:01:01 00:00:00", 0x829A: 0.01}
    return tags.tobytes()


def srgb_profile() -> bytes:
    """A colour profile without its date of creation, which is now: the same bytes each time."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + bytes(12) + profile[36:]


def honest_pictures() -> dict[str, bytes]:
    """A small file of each accepted kind, by a name that says which."""
    rgb = Image.fromarray(noise(1, HEIGHT, WIDTH))
    alpha = Image.fromarray(np.dstack([noise(1, HEIGHT, WIDTH), noise(2, HEIGHT, WIDTH)[..., :1]]), "RGBA")
    profile = srgb_profile()
    texts = PngImagePlugin.PngInfo()
    texts.add_text("plain", "text")
    texts.add_text("compressed", "text " * 50, zip=True)
    texts.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="3"/>')
    files = {
        "jpeg": save(rgb, "JPEG"),
        "jpeg progressive": save(rgb, "JPEG", progressive=True),
        "jpeg grey with restarts": save(rgb.convert("L"), "JPEG", restart_marker_blocks=1),
        "jpeg cmyk": save(rgb.convert("CMYK"), "JPEG"),
        "jpeg exif": save(rgb, "JPEG", exif=exif(), icc_profile=profile, comment="comment"),
        "jpeg of two pictures": _save_two("MPO"),
        "png": save(rgb, "PNG"),
        "png 1 bit": save(rgb.convert("1"), "PNG"),
        "png grey and alpha": save(alpha.convert("LA"), "PNG"),
        "png palette": save(rgb.quantize(16), "PNG", transparency=3),
        "png transparent colour": save(rgb, "PNG", transparency=(1, 2, 3)),
        "png 16 bit": encode(_DEEP),
        "png 16 bit colour": png(np.dstack([_DEEP] * 3), 2),
        "png 16 bit alpha": png(np.dstack([_DEEP] * 4), 6),
        "png interlaced": png(np.asarray(rgb), 2, interlaced=True),
        "png animated": _save_two("PNG"),
        "png metadata": save(rgb, "PNG", exif=exif(), icc_profile=profile, pnginfo=texts, dpi=(300, 300)),
        "bmp": save(rgb, "BMP"),
        "bmp 1 bit": save(rgb.convert("1"), "BMP"),
        "bmp palette": save(rgb.quantize(16), "BMP"),
        "bmp alpha": save(alpha, "BMP"),
        "bmp run length": run_length_bmp(WIDTH, HEIGHT, bytes([WIDTH, 7, 0, 0]) * HEIGHT + b"\0\1"),
        "tiff tiled": tiled_tiff(32, zlib.compress(bytes(range(256)) * 4)),
        "tiff big-endian": tiff(grey_tiff(8, 8, (273, 4, 1, -1), (278, 4, 1, 8), (279, 4, 1, 64)), bytes(range(64)), ">"),
        "tiff 12 bit": tiff(grey_tiff(8, 8, (273, 4, 1, -1), (278, 4, 1, 8), (279, 4, 1, 96), bits=12), bytes(range(96))),
        "tiff 16 bit": encode(_DEEP, "TIFF"),
        "tiff float": encode(_DEEP.astype(np.float32), "TIFF"),
        "tiff of two pages": _save_two("TIFF"),
        "tiff exif": save(rgb, "TIFF", exif=exif(), icc_profile=profile),
        "big tiff": save(rgb, "TIFF", big_tiff=True),
        "tiff palette": save(rgb.quantize(16), "TIFF"),
        "tiff cmyk": save(rgb.convert("CMYK"), "TIFF"),
        "tiff fax": save(rgb.convert("1"), "TIFF", compression="group4"),
        "webp": save(rgb, "WEBP"),
        "webp lossless": save(rgb, "WEBP", lossless=True),
        "webp alpha": save(alpha, "WEBP"),
        "webp exif": save(rgb, "WEBP", exif=exif(), icc_profile=profile),
        "webp animated": _save_two("WEBP"),
    }
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "lzma", "zstd"):
        files[f"tiff {compression}"] = save(rgb, "TIFF", compression=compression)
    return files


def greedy_pictures() -> dict[str, bytes]:
    """Files of at most a few megabytes that would cost a naive decoder minutes or gigabytes, by what they do."""
    zeros = zlib.compress(bytes(2**20 - 16), 9)
    bomb = zlib.compress(bytes(2**28), 1)
    strip = [(273, 4, 1, -1), (278, 4, 1, 8), (279, 4, 1, 64)]
    shrunk_png = bytearray(encode(noise(0, 8, 8)))
    shrunk_png[16:24] = struct.pack(">II", 60_000, 60_000)
    shrunk_png[29:33] = struct.pack(">I", zlib.crc32(shrunk_png[12:29]))
    gif = save(Image.new("P", (8, 8)), "GIF")
    return {
        "PNG that declares 3.6 billion pixels": bytes(shrunk_png),
        "PNG of 2,000 colour profiles": with_chunks(chunk(b"iCCP", b"x\0\0" + zeros) * 2_000),
        "PNG whose colour profile is a bomb": with_chunks(chunk(b"iCCP", b"x\0\0" + bomb)),
        "PNG of 100 texts that are bombs": with_chunks(chunk(b"zTXt", b"x\0\0" + zeros) * 100),
        "PNG of a million chunks": with_chunks(chunk(b"prVt", b"") * 1_000_000),
        "PNG of 4 MB of EXIF": with_chunks(chunk(b"eXIf", tiff([(0x0112, 5, 2**19, -1)], bytes(2**22)))),
        "JPEG of 2,000 scans": many_scans(2_000, 1_000),
        "JPEG of 400,000 EXIF segments": many_segments(b"Exif\0\0MM\0*" + bytes(10), 400_000),
        "JPEG of a million empty segments": many_segments(b"", 1_000_000),
        "JPEG of 65,500 x 65,500": bytes(encode(noise(0, 8, 8), "JPEG")).replace(b"\x08\0\x08\0\x08", b"\x08\xff\xdc\xff\xdc"),
        "TIFF with a tile of 256 MB": tiled_tiff(2**14, bomb, 8, 8),
        "TIFF of a million strips": tiff(grey_tiff(8, 8, (273, 1, 10**6, -1), (278, 4, 1, 1)), bytes(10**6)),
        "TIFF of a million fractions": tiff(grey_tiff(8, 8, *strip, (274, 5, 10**6, -1)), bytes(8 * 10**6)),
        "TIFF whose EXIF has a million fractions": _tiff_with_exif(10**6),
        "TIFF of 65,535 tags": tiff(
            [*grey_tiff(8, 8, *strip), *((1000 + i, 7, 2**20, -1) for i in range(64_000))], bytes(2**20)
        ),
        "TIFF that follows itself": tiff(grey_tiff(8, 8, *strip), bytes(64)).replace(
            bytes(4) + bytes(64), b"\x08\0\0\0" + bytes(64)
        ),
        "TIFF of two billion rows": tiff(grey_tiff(1, 2**31 - 1, *strip), bytes(64)),
        "WebP that declares 3.6 billion pixels": webp_canvas(60_000, 60_000),
        "WebP that declares 256 million pixels": webp_canvas(16_000, 16_000),
        "BMP of a million runs": run_length_bmp(1_000, 1_000, b"\1\1\0\0" * 1_000),
        "BMP of a negative size": b"BM"
        + struct.pack("<IHHIIiiHHI", 100, 0, 0, 54, 40, -(2**31), -(2**31), 1, 24, 0)
        + bytes(60),
        "GIF called PNG": gif,
        "PDF": b"%PDF-1.7\n" + bytes(100),
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='1000000' height='1000000'/>",
    }


def _save_two(format_: str) -> bytes:
    """A file of two pictures."""
    first, second = (Image.fromarray(noise(seed, HEIGHT, WIDTH)) for seed in (3, 4))
    return save(first, format_, save_all=True, append_images=[second])


def _tiff_with_exif(fractions: int) -> bytes:
    """A directory that points to another one, which holds one tag of many fractions."""
    entries = grey_tiff(8, 8, (273, 4, 1, 8), (278, 4, 1, 8), (279, 4, 1, 64), (0x8769, 4, 1, -1))
    start = 8 + 2 + 12 * len(entries) + 4
    inner = struct.pack("<HHHIII", 1, 0x829A, 5, fractions, start + 18, 0)
    return tiff(entries, inner + bytes(8 * fractions))
