"""What is posted: rendered parts as a line camera, a web camera and a data set would send them."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from training.data.parts import render_part

SEED = 7
NOISE = 4.0  # grey levels, of the enlarged picture, as a sensor has it


@dataclass(frozen=True)
class Posted:
    """A picture to post: its name in tables, its file and media type."""

    name: str
    file: Path
    media_type: str


def write_pictures(folder: Path) -> dict[str, Posted]:
    """Write the three pictures below `folder`, by their short names `camera`, `web` and `small`."""
    camera = Image.fromarray(render_part("gear", None, (612, 512), SEED).pixels).resize((2448, 2048), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(SEED).normal(0, NOISE, (2048, 2448, 1))
    grainy = Image.fromarray(np.clip(np.asarray(camera) + noise, 0, 255).astype(np.uint8))
    web = Image.fromarray(render_part("gear", None, (640, 480), SEED).pixels)
    small = Image.fromarray(render_part("gear", None, 112, SEED).pixels)
    return {
        "camera": _write(folder, "2448x2048 JPEG", grainy, "JPEG"),
        "web": _write(folder, "640x480 JPEG", web, "JPEG"),
        "small": _write(folder, "112x112 PNG", small, "PNG"),
    }


def write_square(folder: Path, side: int) -> Posted:
    """Write a JPEG of this side, below `folder`."""
    rendered = Image.fromarray(render_part("gear", None, min(side, 512), SEED).pixels)
    return _write(folder, f"{side}x{side} JPEG", rendered.resize((side, side), Image.Resampling.BICUBIC), "JPEG")


def _write(folder: Path, name: str, image: Image.Image, kind: str) -> Posted:
    encoded = BytesIO()
    image.save(encoded, kind, **({"quality": 90} if kind == "JPEG" else {}))
    file = folder / f"{name.split()[0]}.{kind.lower()}"
    file.write_bytes(encoded.getvalue())
    return Posted(name, file, f"image/{kind.lower()}")
