"""Rendered parts as a data set on disk, in MVTec layout."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import TrainingError
from ...files import write_beside
from ...progress import track
from .render import DEFECTS, KINDS, render_part


@dataclass(frozen=True)
class _Entry:
    kind: str
    split: str
    defect: str | None
    number: int

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.split}/{self.defect or 'good'}/{self.number:03d}"


def write_parts(
    output: Path, good: int, defective: int, size: int | tuple[int, int], seed: int, kinds: Sequence[str] = KINDS
) -> None:
    """Render a data set into the new or empty folder `output`, one category a kind.

    A kind gets `good` pictures in train/good, a quarter as many more (rounded up) in test/good, and `defective` ones in
    test/<defect>, spread evenly over its defects, with masks (0 or 255) in ground_truth/<defect>. Each picture depends on the
    seed and its own name alone. Raises TrainingError where the folder holds anything, a count or the seed is negative, the
    size is too small or a kind is unknown.
    """
    if min(good, defective, seed) < 0:
        raise TrainingError(
            f"cannot render {good} good and {defective} defective parts from seed {seed}: use 0 or more for each"
        )
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise TrainingError(f"unknown kind of part {unknown[0]!r}: use one of {', '.join(KINDS)}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise TrainingError(f"{output} is not an empty folder: name a new one, or remove what it holds")
    entries = [entry for kind in kinds for entry in _entries(kind, good, defective)]
    for entry in track(entries, "Rendering parts"):
        part = render_part(entry.kind, entry.defect, size, _seed(seed, entry.name))
        _write(output / f"{entry.name}.png", part.pixels)
        if entry.defect is not None:
            mask = np.where(part.mask, np.uint8(255), np.uint8(0))
            _write(output / entry.kind / "ground_truth" / entry.defect / f"{entry.number:03d}_mask.png", mask)


def _entries(kind: str, good: int, defective: int) -> Iterator[_Entry]:
    for split, count in (("train", good), ("test", -(-good // 4))):
        yield from (_Entry(kind, split, None, number) for number in range(count))
    for number in range(defective):
        repeat, which = divmod(number, len(DEFECTS[kind]))
        yield _Entry(kind, "test", DEFECTS[kind][which], repeat)


def _seed(seed: int, name: str) -> int:
    return int(np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1, np.uint64)[0])


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    write_beside(path, lambda beside: Image.fromarray(pixels).save(beside, format="PNG"))
