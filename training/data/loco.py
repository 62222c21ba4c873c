"""MVTec-LOCO-AD's layout: logical and structural anomalies, a mask for each defect of a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from .errors import DataError
from .mvtec import find_categories, good_pictures, picture_name
from .sample import ANOMALOUS, Sample, Saturation
from .tree import Split, choose_classes, layout_error, pictures

KINDS = ("logical_anomalies", "structural_anomalies")
EXPECTED = (
    "[CATEGORY/]{train/good, validation/good, test/{good,logical_anomalies,structural_anomalies}}/NNN.png, "
    "ground_truth/{logical_anomalies,structural_anomalies}/NNN/*.png and defects_config.json"
)


class _DefectConfig(BaseModel):
    """An entry of defects_config.json; the data set's own file may say more."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    pixel_value: int
    saturation_threshold: float
    relative_saturation: bool


def load(root: Path, split: Split, normal: Sequence[str]) -> list[Sample]:
    """Samples of the categories that `normal` names, all if empty; `root` is one category or holds several.

    Train: train/good, and validation/good set apart for calibration. Raises DataError for another layout, an unknown category,
    a damaged defects_config.json, and an anomalous picture without masks.
    """
    by_name = find_categories(root, EXPECTED)
    read = _train if split == "train" else _test
    return [sample for name in choose_classes(normal, list(by_name)) for sample in read(by_name[name], name)]


def classes(root: Path) -> list[str]:
    """Names of the categories; raises DataError where there is none."""
    return list(find_categories(root, EXPECTED))


def _train(folder: Path, category: str) -> list[Sample]:
    apart = good_pictures(folder / "validation" / "good", category, EXPECTED)
    training = good_pictures(folder / "train" / "good", category, EXPECTED)
    return training + [replace(sample, set_apart=True) for sample in apart]


def _test(folder: Path, category: str) -> list[Sample]:
    saturations = _saturations(folder / "defects_config.json")
    samples = good_pictures(folder / "test" / "good", category, EXPECTED)
    for kind in KINDS:
        found = pictures(folder / "test" / kind)
        if not found:
            raise layout_error("pictures", folder / "test" / kind, EXPECTED)
        for path in found:
            masks = tuple(pictures(folder / "ground_truth" / kind / path.stem))
            if not masks:
                raise layout_error(f"masks of {path}", folder / "ground_truth" / kind / path.stem, EXPECTED)
            samples.append(Sample(picture_name(category, path), path, ANOMALOUS, category, kind, masks, saturations))
    return samples


def _saturations(file: Path) -> Mapping[int, Saturation]:
    """Saturation by the value that a defect's pixels have in its mask."""
    try:
        entries = TypeAdapter(list[_DefectConfig]).validate_json(file.read_bytes())
    except FileNotFoundError as error:
        raise layout_error("defects_config.json", file.parent, EXPECTED) from error
    except ValidationError as error:
        raise DataError(f"{file} is damaged: {error}; take it from the data set anew") from error
    return {e.pixel_value: Saturation(e.saturation_threshold, e.relative_saturation) for e in entries}
