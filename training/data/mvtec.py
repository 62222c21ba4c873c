"""MVTec-AD's layout, one category or several: one generalist model learns from all that are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .errors import DataError
from .sample import ANOMALOUS, GOOD, Sample
from .tree import Split, choose_classes, folders, layout_error, pictures

EXPECTED = "[CATEGORY/]{train/good, test/good, test/DEFECT}/NAME.png and ground_truth/DEFECT/NAME_mask.png"


def load(root: Path, split: Split, normal: Sequence[str]) -> list[Sample]:
    """Samples of the categories that `normal` names, all if empty; `root` is one category or holds several.

    Without a folder ground_truth the defective pictures have no masks. Raises DataError for another layout, an unknown
    category, and a picture whose mask is missing.
    """
    by_name = find_categories(root, EXPECTED)
    read = _train if split == "train" else _test
    return [sample for name in choose_classes(normal, list(by_name)) for sample in read(by_name[name], name)]


def classes(root: Path) -> list[str]:
    """Names of the categories; raises DataError where there is none."""
    return list(find_categories(root, EXPECTED))


def find_categories(root: Path, expected: str) -> dict[str, Path]:
    """Folders of the categories by name: `root` itself, or those in it. Raises DataError where there is none."""
    if _is_category(root):
        return {root.resolve().name: root}
    categories = {folder.name: folder for folder in folders(root) if _is_category(folder)}
    if not categories:
        raise layout_error("train/good or categories that hold it", root, expected)
    return categories


def good_pictures(folder: Path, category: str, expected: str) -> list[Sample]:
    """The pictures in one folder, all good. Raises DataError where there is none."""
    found = pictures(folder)
    if not found:
        raise layout_error("pictures", folder, expected)
    return [Sample(picture_name(category, path), path, GOOD, category) for path in found]


def picture_name(category: str, path: Path) -> str:
    """CATEGORY/SPLIT/KIND/FILE."""
    return "/".join((category, *path.parts[-3:]))


def _is_category(folder: Path) -> bool:
    return (folder / "train").is_dir() or (folder / "test").is_dir()


def _train(folder: Path, category: str) -> list[Sample]:
    return good_pictures(folder / "train" / "good", category, EXPECTED)


def _test(folder: Path, category: str) -> list[Sample]:
    samples = [_test_sample(folder, category, kind.name, path) for kind in folders(folder / "test") for path in pictures(kind)]
    if not samples:
        raise layout_error("folders of pictures", folder / "test", EXPECTED)
    return samples


def _test_sample(folder: Path, category: str, kind: str, path: Path) -> Sample:
    if kind == "good":
        return Sample(picture_name(category, path), path, GOOD, category)
    return Sample(picture_name(category, path), path, ANOMALOUS, category, kind, _masks(folder / "ground_truth", kind, path))


def _masks(ground_truth: Path, defect: str, path: Path) -> tuple[Path, ...]:
    if not ground_truth.is_dir():
        return ()
    for stem in (f"{path.stem}_mask", path.stem):
        mask = ground_truth / defect / f"{stem}.png"
        if mask.is_file():
            return (mask,)
    wanted = ground_truth / defect / f"{path.stem}_mask.png"
    raise DataError(f"{path} has no mask: looked for {wanted}; expected layout: {EXPECTED}")
