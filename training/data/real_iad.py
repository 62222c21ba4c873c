"""Real-IAD's layout: one JSON file a category says which picture is what. Every view of a part is a picture of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import DataError
from .sample import ANOMALOUS, GOOD, Sample
from .tree import Split, choose_classes, layout_error

RESOLUTIONS = ("realiad_1024", "realiad_512", "realiad_256")  # the first that is there is read
JSONS = "realiad_jsons"
MULTI_VIEW, SINGLE_VIEW = "realiad_jsons", "realiad_jsons_sv"
EXPECTED = f"{JSONS}/{{{MULTI_VIEW},{SINGLE_VIEW}}}/CATEGORY.json and one of {', '.join(RESOLUTIONS)} with the files they name"


class _Meta(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    prefix: str = ""
    normal_class: str = "OK"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    anomaly_class: str
    image_path: str
    mask_path: str | None = None


class _Description(BaseModel):
    """A category's JSON file; more fields than these may come."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    meta: _Meta
    train: list[_Entry]
    test: list[_Entry]


def load(root: Path, split: Split, normal: Sequence[str]) -> list[Sample]:
    """Samples of the multi-view split. `normal` names categories, all if empty.

    Raises DataError for a missing or damaged JSON file, an unknown category, and files that it names but the tree lacks.
    """
    return _load(root, split, normal, MULTI_VIEW)


def load_single_view(root: Path, split: Split, normal: Sequence[str]) -> list[Sample]:
    """Likewise, of the single-view split."""
    return _load(root, split, normal, SINGLE_VIEW)


def classes(root: Path) -> list[str]:
    """Names of the categories of the multi-view split; raises DataError where there is none."""
    return list(_files(root, MULTI_VIEW))


def classes_single_view(root: Path) -> list[str]:
    """Likewise, of the single-view split."""
    return list(_files(root, SINGLE_VIEW))


def _files(root: Path, splits: str) -> dict[str, Path]:
    folder = root / JSONS / splits
    files = {file.stem: file for file in sorted(folder.glob("*.json"))}
    if not files:
        raise layout_error("CATEGORY.json", folder if (root / JSONS).is_dir() else root, EXPECTED)
    return files


def _load(root: Path, split: Split, normal: Sequence[str], splits: str) -> list[Sample]:
    files = _files(root, splits)
    images = next((root / name for name in RESOLUTIONS if (root / name).is_dir()), None)
    if images is None:
        raise layout_error(" or ".join(RESOLUTIONS), root, EXPECTED)
    return [sample for name in choose_classes(normal, list(files)) for sample in _category(files[name], name, split, images)]


def _category(file: Path, category: str, split: Split, images: Path) -> list[Sample]:
    try:
        description = _Description.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise DataError(f"{file} is damaged: {error}; take it from the data set anew") from error
    folder = images / (description.meta.prefix or category)
    samples = []
    for entry in description.train if split == "train" else description.test:
        name, path = f"{category}/{entry.image_path}", _existing(folder, entry.image_path, file)
        if entry.anomaly_class == description.meta.normal_class:
            samples.append(Sample(name, path, GOOD, category))
        else:
            masks = (_existing(folder, entry.mask_path, file),) if entry.mask_path else ()
            samples.append(Sample(name, path, ANOMALOUS, category, entry.anomaly_class, masks))
    return samples


def _existing(folder: Path, name: str, file: Path) -> Path:
    path = folder / name
    if not path.is_file():
        raise DataError(f"{file} names {name}, but {path} does not exist; expected layout: {EXPECTED}")
    return path
