"""CIFAR-10: the official python version, or picture files in one folder a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .cifar_batches import read_batches
from .class_folders import load_class_folders
from .one_vs_rest import one_vs_rest
from .sample import Sample
from .tree import Split, choose_classes

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCHES: dict[Split, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
    "test": ("test_batch",),
}
EXPECTED = "{train,test}/{" + ",".join(CLASSES) + "}/NAME.jpg, or data_batch_{1..5} and test_batch"


def load(root: Path, split: Split, normal: Sequence[str]) -> list[Sample]:
    """Train: pictures of the normal classes. Test: all ten classes, anomalous where not normal.

    `normal` names classes, empty means all ten. Raises DataError for unknown classes, missing or damaged files, and where a
    class that is needed has no picture.
    """
    files = [root / name for name in BATCHES[split]]
    if not files[0].is_file():
        return load_class_folders(root, split, normal, CLASSES, EXPECTED)
    chosen = choose_classes(normal, CLASSES)
    pictures, categories, names = read_batches(files, "labels", CLASSES)
    return one_vs_rest(split, chosen, zip(categories, names, pictures, strict=True))
