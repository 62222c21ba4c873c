"""Any folder of good pictures; what is known to be bad lies beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .sample import ANOMALOUS, GOOD, Sample
from .tree import Split, choose_classes, layout_error, pictures

EXPECTED = "good/NAME.png and, to test, bad/NAME.png; or good pictures directly in the folder"


def load(root: Path, split: Split, normal: Sequence[str]) -> list[Sample]:
    """Train: the good pictures. Test: the good and the bad ones, so give a folder of pictures that training has not seen.

    The folder's name is its only class. Pictures in deeper folders are left out: they may be of another kind. Raises DataError
    where there is no good picture, or for another class in `normal`.
    """
    category = root.resolve().name
    choose_classes(normal, [category])
    inner = (root / "good").is_dir() or (root / "bad").is_dir()
    good = pictures(root / "good" if inner else root)
    if not good:
        raise layout_error("pictures", root / "good" if inner else root, EXPECTED)
    samples = [Sample(f"{category}/{path.relative_to(root)}", path, GOOD, category) for path in good]
    if split == "test":
        bad = pictures(root / "bad")
        samples += [Sample(f"{category}/{path.relative_to(root)}", path, ANOMALOUS, category, "bad") for path in bad]
    return samples
