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

PARTS = ("good", "bad", "masks")
# What folders of defects are called; good/ belongs beside them.
NO_CLASSES = {"bad", "defect", "defects", "defective", "anomaly", "anomalous", "ng", "nok", "nio", "not_ok", "mask", "masks"}


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
    """Raises DataError for pictures that would be left out, or learned as good against the name of their folder."""
    inside = [] if _is_class(root) else [folder for folder in folders(root) if _is_class(folder)]
    if left_out := [folder for folder in folders(root) if inside and folder not in inside and _holds_pictures(folder)]:
        raise layout_error(f"pictures directly in {left_out[0].name}/, where those below would be left out,", root, EXPECTED)
    if named := [folder.name for folder in inside if folder.name.casefold() in NO_CLASSES]:
        raise layout_error(f"good/ beside {named[0]}/, which would be a class of good pictures,", root, EXPECTED)
    for folder in inside or [root]:
        read = [_part(folder, name) for name in PARTS] if _has_parts(folder) else []
        for holder in (folder, *(_part(folder, name) for name in PARTS)):
            if left_out := [found for found in folders(holder) if found not in read and _holds_pictures(found)]:
                raise layout_error(f"no pictures in {left_out[0].name}/, which would be left out,", holder, EXPECTED)
    return {folder.name: folder for folder in inside} or {root.resolve().name: root}


def _holds_pictures(folder: Path) -> bool:
    """Whether there is a picture in the folder or below it."""
    return bool(pictures(folder)) or any(map(_holds_pictures, folders(folder)))


def _is_class(folder: Path) -> bool:
    return _has_parts(folder) or bool(pictures(folder))


def _has_parts(folder: Path) -> bool:
    return _part(folder, "good").is_dir() or _part(folder, "bad").is_dir()


def _part(folder: Path, name: str) -> Path:
    """The folder good, bad or masks in `folder`, in capitals or not."""
    return next((found for found in folders(folder) if found.name.casefold() == name), folder / name)


def _class(folder: Path, category: str, split: Split) -> list[Sample]:
    holder = _part(folder, "good") if _has_parts(folder) else folder
    good = pictures(holder)
    if not good:
        raise layout_error("pictures", holder, EXPECTED)
    samples = [Sample(_name(category, folder, path), path, GOOD, category) for path in good]
    return samples + _bad(folder, category) if split == "test" else samples


def _bad(folder: Path, category: str) -> list[Sample]:
    bad, masks = pictures(_part(folder, "bad")), {path.stem: path for path in pictures(_part(folder, "masks"))}
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
