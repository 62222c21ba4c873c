"""The layouts that can be read, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from . import cifar10, cifar100, fmnist, folder, loco, mvtec, real_iad, view, visa
from .errors import DataError
from .sample import Sample
from .tree import Split

LAYOUTS: dict[str, Callable[[Path, Split, Sequence[str]], list[Sample]]] = {
    "mvtec": mvtec.load,
    "mvtec-loco": loco.load,
    "visa": visa.load,
    "real-iad": real_iad.load,
    "real-iad-single-view": real_iad.load_single_view,
    "cifar10": cifar10.load,
    "cifar100": cifar100.load,
    "fmnist": fmnist.load,
    "view": view.load,
    "folder": folder.load,
}


def load_samples(layout: str, root: Path, split: Split, normal: Sequence[str] = ()) -> list[Sample]:
    """Samples of one split of the data set at `root`; `normal` names the normal classes or categories, all if empty.

    Raises DataError for an unknown layout or class, and where the tree is not of that layout.
    """
    if layout not in LAYOUTS:
        raise DataError(f"unknown layout '{layout}'; known layouts: {', '.join(LAYOUTS)}")
    return LAYOUTS[layout](root, split, normal)
