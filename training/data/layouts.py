"""The layouts that can be read, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import cifar10, cifar100, fmnist, folder, loco, mvtec, real_iad, view, visa
from .errors import DataError
from .sample import Sample
from .tree import Split


@dataclass(frozen=True)
class Adapter:
    """How a layout is read: its samples, and the names of its classes, which costs no more than a look at the tree.

    `defects` are labelled ones to learn from; benchmarks have none.
    """

    load: Callable[[Path, Split, Sequence[str]], list[Sample]]
    classes: Callable[[Path], Sequence[str]]
    defects: Callable[[Path, Sequence[str]], list[Sample]] | None = None


LAYOUTS: dict[str, Adapter] = {
    "mvtec": Adapter(mvtec.load, mvtec.classes),
    "mvtec-loco": Adapter(loco.load, loco.classes),
    "visa": Adapter(visa.load, visa.classes),
    "real-iad": Adapter(real_iad.load, real_iad.classes),
    "real-iad-single-view": Adapter(real_iad.load_single_view, real_iad.classes_single_view),
    "cifar10": Adapter(cifar10.load, lambda _: cifar10.CLASSES),
    "cifar100": Adapter(cifar100.load, lambda _: cifar100.CLASSES),
    "fmnist": Adapter(fmnist.load, lambda _: fmnist.CLASSES),
    "view": Adapter(view.load, lambda _: view.CLASSES),
    "folder": Adapter(folder.load, folder.classes, folder.defects),
}


def adapter(layout: str) -> Adapter:
    """The adapter of that name; raises DataError for an unknown one."""
    if layout not in LAYOUTS:
        raise DataError(f"unknown layout '{layout}'; known layouts: {', '.join(LAYOUTS)}")
    return LAYOUTS[layout]


def load_samples(layout: str, root: Path, split: Split, normal: Sequence[str] = ()) -> list[Sample]:
    """Samples of one split of the data set at `root`; `normal` names the normal classes or categories, all if empty.

    Raises DataError for an unknown layout or class, and where the tree is not of that layout.
    """
    return adapter(layout).load(root, split, normal)


def load_defects(layout: str, root: Path, normal: Sequence[str]) -> list[Sample]:
    """Labelled defects to learn from; none of a layout that keeps its defects for the test. Errors as of load_samples."""
    defects = adapter(layout).defects
    return [] if defects is None else defects(root, normal)


def class_names(layout: str, root: Path) -> list[str]:
    """The classes or categories of the data set at `root`; raises DataError where the tree is not of that layout."""
    return list(adapter(layout).classes(root))
