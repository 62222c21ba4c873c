"""Any folder of pictures: good ones, what is known to be bad beside them, and masks if someone drew them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .errors import DataError
from .sample import ANOMALOUS, GOOD, Sample
from .tree import Split, choose_classes, folders, layout_error, pictures

EXPECTED = (
    "good/NAME.png and, to test, bad/NAME.png with masks/NAME.png if there are masks; or good pictures directly in the folder; "
    "or one such folder a class"
)


def load(root: Path, split: Split, normal: Sequence[str]) -> list[Sample]:
    """Train: the good pictures. Test: the good and the bad ones, so give a folder of pictures that training has not seen.

    A folder without pictures of its own holds classes, one a sub-folder, of which `normal` chooses, all if empty; else the
    folder's name is its only class. Raises DataError where a class has no good picture, for an unknown class in `normal`, and
    where some bad pictures have a mask and others none.
    """
    by_name = _classes(root)
    return [sample for name in choose_classes(normal, list(by_name)) for sample in _class(by_name[name], name, split)]


def defects(root: Path, normal: Sequence[str]) -> list[Sample]:
    """The labelled defects, in bad/, of the classes in `normal`, of all if empty. Errors as of load."""
    by_name = _classes(root)
    return [sample for name in choose_classes(normal, list(by_name)) for sample in _bad(by_name[name], name)]


def classes(root: Path) -> list[str]:
    """Names of the classes: of the sub-folders, or of the folder itself."""
    return list(_classes(root))


def _classes(root: Path) -> dict[str, Path]:
    inside = [] if _is_class(root) else [folder for folder in folders(root) if _is_class(folder)]
    return {folder.resolve().name: folder for folder in inside or [root]}


def _is_class(folder: Path) -> bool:
    return (folder / "good").is_dir() or (folder / "bad").is_dir() or bool(pictures(folder))


def _class(folder: Path, category: str, split: Split) -> list[Sample]:
    inner = (folder / "good").is_dir() or (folder / "bad").is_dir()
    good = pictures(folder / "good" if inner else folder)
    if not good:
        raise layout_error("pictures", folder / "good" if inner else folder, EXPECTED)
    samples = [Sample(_name(category, folder, path), path, GOOD, category) for path in good]
    return samples + _bad(folder, category) if split == "test" else samples


def _bad(folder: Path, category: str) -> list[Sample]:
    bad, masks = pictures(folder / "bad"), {path.stem: path for path in pictures(folder / "masks")}
    without = [path for path in bad if path.stem not in masks]
    if masks and without:
        wanted = folder / "masks" / f"{without[0].stem}.png"
        raise DataError(f"{without[0]} has no mask: looked for {wanted}; expected layout: {EXPECTED}")
    return [
        Sample(_name(category, folder, path), path, ANOMALOUS, category, "bad", (masks[path.stem],) if masks else ())
        for path in bad
    ]


def _name(category: str, folder: Path, path: Path) -> str:
    return f"{category}/{path.relative_to(folder)}"
