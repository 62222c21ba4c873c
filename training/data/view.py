"""View: Intel's photographs of six kinds of scenes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .class_folders import load_class_folders
from .sample import Sample
from .tree import Split

CLASSES = ("buildings", "forest", "glacier", "mountain", "sea", "street")
EXPECTED = "{train,test}/{" + ",".join(CLASSES) + "}/NAME.jpg"


def load(root: Path, split: Split, normal: Sequence[str]) -> list[Sample]:
    """Train: pictures of the normal classes. Test: all six, anomalous where not normal. Errors as of load_class_folders."""
    return load_class_folders(root, split, normal, CLASSES, EXPECTED)
