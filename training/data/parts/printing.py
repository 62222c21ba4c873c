"""Print on parts: lines of text and codes, drawn sharp at any size and laid where the part lies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, cos, sin

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .view import Field, Pose, View

OVERSAMPLING = 2
GLYPHS = "ABCDEFGHKMNPRSTXYZ023456789#%&"


@dataclass(frozen=True)
class Text:
    """A line of text from the left edge x, its middle at y, in part units; `printed` is what the printer made of `text`."""

    text: str
    x: float
    y: float
    height: float
    bold: float = 0.0  # stroke in shares of the height
    printed: str | None = None
    smear: float = 0.0  # length of a wiped trail to the right, part units


@dataclass(frozen=True)
class Blocks:
    """Printed rectangles (left, top, right, bottom): a bar code, a matrix code, a symbol."""

    boxes: tuple[tuple[float, float, float, float], ...]


Artwork = tuple[Text | Blocks, ...]


def ink(view: View, pose: Pose, artwork: Artwork, half_width: float, half_height: float) -> Field:
    """Ink coverage [H, W] in [0, 1] of an artwork within ± the half sizes (part units) on a part that lies in `pose`."""
    fine = OVERSAMPLING / view.pixel
    density = ceil(fine * pose.scale / 16) * 16  # few distinct values, so that drawn artworks are found again
    sheet = _drawn(artwork, half_width, half_height, density)
    # From fine picture pixels to sheet pixels: turn about the part's centre, then scale.
    step = density / (fine * pose.scale)
    c, s = cos(pose.angle) * step, sin(pose.angle) * step
    view_width, view_height = view.half_size
    x0, y0 = (view_width + pose.x) * fine, (view_height + pose.y) * fine
    matrix = (
        *(c, s, -c * x0 - s * y0 + half_width * density),
        *(-s, c, s * x0 - c * y0 + half_height * density),
    )
    size = (view.width * OVERSAMPLING, view.height * OVERSAMPLING)
    laid = sheet.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR).reduce(OVERSAMPLING)
    return np.asarray(laid, np.float32) / 255


def misprinted(artwork: Artwork, rng: np.random.Generator) -> Artwork:
    """The artwork with one line of text wrong, incomplete, smeared or out of place."""
    lines = [number for number, item in enumerate(artwork) if isinstance(item, Text)]
    chosen = lines[rng.integers(len(lines))]
    return tuple(
        _spoilt(item, rng) if number == chosen and isinstance(item, Text) else item for number, item in enumerate(artwork)
    )


def without_one(artwork: Artwork, rng: np.random.Generator) -> Artwork:
    """The artwork with one of its items not printed."""
    chosen = rng.integers(len(artwork))
    return tuple(item for number, item in enumerate(artwork) if number != chosen)


def _spoilt(line: Text, rng: np.random.Generator) -> Text:
    fault = ("wrong", "incomplete", "smeared", "shifted")[rng.integers(4)]
    if fault == "smeared":
        return replace(line, smear=float(rng.uniform(0.7, 1.3)) * line.height)
    if fault == "shifted":
        side = 1 if rng.random() < 0.5 else -1
        shift = float(rng.uniform(0.35, 0.6)) * line.height
        return replace(line, x=line.x + float(rng.uniform(0.3, 0.8)) * line.height, y=line.y + side * shift)
    characters = list(line.text)
    inked = [number for number, character in enumerate(characters) if character != " "]
    count = min(int(rng.integers(2, 5)), len(inked) - 1)
    first = int(rng.integers(len(inked) - count + 1))
    for number in inked[first : first + count]:
        others = [glyph for glyph in GLYPHS if glyph != characters[number]]
        characters[number] = " " if fault == "incomplete" else others[rng.integers(len(others))]
    return replace(line, printed="".join(characters))


@lru_cache(maxsize=32)
def _font(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow without FreeType could not scale text
    return font


@lru_cache(maxsize=8)
def _drawn(artwork: Artwork, half_width: float, half_height: float, density: int) -> Image.Image:
    size = (ceil(2 * half_width * density), ceil(2 * half_height * density))
    sheet = Image.new("L", size)
    for item in artwork:
        layer = Image.new("L", size) if isinstance(item, Text) and item.smear else sheet
        pen = ImageDraw.Draw(layer)
        if isinstance(item, Blocks):
            for left, top, right, bottom in item.boxes:
                corners = (left + half_width, top + half_height, right + half_width, bottom + half_height)
                pen.rectangle([round(corner * density) for corner in corners], fill=255)
            continue
        font = _font(item.height * density * 1.25)
        for number, character in enumerate(item.printed or item.text):
            x = (
                (item.x + half_width) * density
                + font.getlength(item.text[:number])
                + number * item.bold * item.height * density
            )
            y = (item.y + half_height) * density
            pen.text((x, y), character, fill=255, font=font, anchor="lm", stroke_width=item.bold * item.height * density)
        if item.smear:
            sheet.paste(255, mask=_smeared(layer, item.smear * density))
    return sheet


def _smeared(layer: Image.Image, length: float) -> Image.Image:
    """Ink wiped to the right while wet: the print stays, paler, and trails off."""
    wet = np.asarray(layer, np.float32)
    trail = np.zeros_like(wet)
    copies = 24
    for number in range(copies):
        shift = round(length * number / copies)
        drop = round(shift * 0.12)
        trail[drop:, shift:] += wet[: wet.shape[0] - drop, : wet.shape[1] - shift] * ((1 - number / copies) * 2.6 / copies)
    return Image.fromarray(np.clip(np.maximum(0.6 * wet, trail), 0, 255).astype(np.uint8))
