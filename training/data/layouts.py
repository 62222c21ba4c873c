"""The layouts that can be read, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from . import cifar10, fmnist, folder, mvtec
from .errors import DataError
from .sample import Sample
from .tree import Split

LAYOUTS: dict[str, Callable[[Path, Split, Sequence[str]], list[Sample]]] = {
    "mvtec": mvtec.load,
    "folder": folder.load,
    "fmnist": fmnist.load,
    "cifar10": cifar10.load,
}


def load_samples(layout: str, root: Path, split: Split, normal: Sequence[str] = ()) -> list[Sample]:
    """Samples of one split of the data set at `root`; `normal` names the normal classes or categories, all if empty.

    Raises DataError for an unknown layout or class, and where the tree is not of that layout.
    """
    if layout not in LAYOUTS:
        raise DataError(f"unknown layout '{layout}'; known layouts: {', '.join(LAYOUTS)}")
    return LAYOUTS[layout](root, split, normal)
