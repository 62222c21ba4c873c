"""Fashion-MNIST: 28x28 grey pictures in IDX files, as its authors and Debian's dataset-fashion-mnist ship them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .errors import DataError
from .one_vs_rest import one_vs_rest
from .sample import Sample
from .tree import Split, choose_classes, layout_error

CLASSES = ("t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
PREFIX: dict[Split, str] = {"train": "train", "test": "t10k"}
EXPECTED = "{train,t10k}-images-idx3-ubyte[.gz] and {train,t10k}-labels-idx1-ubyte[.gz]"


def load(root: Path, split: Split, normal: Sequence[str]) -> list[Sample]:
    """Train: pictures of the normal classes. Test: all ten classes, anomalous where not normal.

    `normal` names classes or their digits ("sandal", "9"); empty means all ten. Raises DataError for missing or damaged files
    and unknown classes.
    """
    chosen = set(choose_classes([CLASSES[int(name)] if name in set("0123456789") else name for name in normal], CLASSES))
    images = _read_idx(root, f"{PREFIX[split]}-images-idx3-ubyte", 3)
    labels = _read_idx(root, f"{PREFIX[split]}-labels-idx1-ubyte", 1)
    if len(images) != len(labels) or (labels >= len(CLASSES)).any():
        raise DataError(
            f"{root}: the {len(images)} pictures and {len(labels)} labels of {PREFIX[split]} do not belong together"
        )
    categories = [CLASSES[digit] for digit in labels]
    return one_vs_rest(split, chosen, zip(categories, (f"{n:05d}" for n in range(len(images))), images, strict=True))


def _read_idx(root: Path, name: str, dimensions: int) -> npt.NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes: two zero bytes, type 8, number of dimensions, big-endian sizes, data."""
    file = next((path for path in (root / f"{name}.gz", root / name) if path.is_file()), None)
    if file is None:
        raise layout_error(f"{name}[.gz]", root, EXPECTED)
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    header = 4 + 4 * dimensions
    if data[:4] != bytes((0, 0, 8, dimensions)) or len(data) < header:
        raise DataError(f"{file} is no IDX file of unsigned bytes in {dimensions} dimensions")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", dimensions, 4))
    values = np.frombuffer(data, np.uint8, offset=header)
    if len(values) != np.prod(shape):
        raise DataError(f"{file} is truncated or damaged: {len(values)} values for shape {shape}")
    return values.reshape(shape)
