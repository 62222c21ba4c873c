"""Sets made for classification, read as anomaly detection: some classes are normal, every other one is anomalous."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .errors import DataError
from .sample import ANOMALOUS, GOOD, Sample
from .tree import Split, layout_error

Found = tuple[str, str, Path | npt.NDArray[np.uint8]]  # category, name of the picture, the picture


def one_vs_rest(split: Split, normal: Collection[str], found: Iterable[Found]) -> list[Sample]:
    """Train: pictures of the normal classes. Test: all, anomalous where not normal, their class the defect."""
    samples = []
    for category, picture, source in found:
        name = f"{split}/{category}/{picture}"
        if category in normal:
            samples.append(Sample(name, source, GOOD, category))
        elif split == "test":
            samples.append(Sample(name, source, ANOMALOUS, category, category))
    return samples


def nothing_in(root: Path, names: tuple[str, ...], expected: str) -> DataError:
    """The error for a folder `names` below `root` without pictures: what the deepest that exists holds tells what is wrong."""
    deepest = root
    for name in names:
        if not (deepest / name).is_dir():
            break
        deepest = deepest / name
    return layout_error(f"pictures in {'/'.join(names)}", deepest, expected)
