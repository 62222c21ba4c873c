"""Picture files in one folder a class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .one_vs_rest import Found, nothing_in, one_vs_rest
from .sample import Sample
from .tree import Split, choose_classes, pictures


def load_class_folders(root: Path, split: Split, normal: Sequence[str], classes: Sequence[str], expected: str) -> list[Sample]:
    """`{train,test}/CLASS/NAME.jpg`. Train: pictures of the normal classes. Test: all classes, anomalous where not normal.

    `normal` names classes, empty means all. Raises DataError for unknown classes, and where a class that is needed has no
    picture.
    """
    chosen = choose_classes(normal, classes)
    needed = chosen if split == "train" else classes
    return one_vs_rest(split, chosen, _found(root, split, needed, expected))


def _found(root: Path, split: Split, needed: Sequence[str], expected: str) -> Iterable[Found]:
    for category in needed:
        files = pictures(root / split / category)
        if not files:
            raise nothing_in(root, (split, category), expected)
        for path in files:
            yield category, path.name, path
