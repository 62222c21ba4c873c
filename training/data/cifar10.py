"""CIFAR-10 as picture files, one folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .sample import ANOMALOUS, GOOD, Sample
from .tree import Split, choose_classes, layout_error, pictures

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
EXPECTED = "{train,test}/{" + ",".join(CLASSES) + "}/NAME.jpg"


def load(root: Path, split: Split, normal: Sequence[str]) -> list[Sample]:
    """Train: pictures of the normal classes. Test: all ten classes, anomalous where not normal.

    `normal` names classes, empty means all ten. Raises DataError for unknown classes and where a class that is needed has no
    picture.
    """
    chosen = choose_classes(normal, CLASSES)
    samples = []
    for category in chosen if split == "train" else CLASSES:
        found = pictures(root / split / category)
        if not found:
            raise layout_error(f"pictures in {split}/{category}", _deepest(root, split, category), EXPECTED)
        good = category in chosen
        samples += [
            Sample(f"{split}/{category}/{path.name}", path, GOOD if good else ANOMALOUS, category, None if good else category)
            for path in found
        ]
    return samples


def _deepest(root: Path, *names: str) -> Path:
    """The last folder on the way from `root` that exists: what it holds tells what is wrong."""
    for name in names:
        if not (root / name).is_dir():
            break
        root = root / name
    return root
