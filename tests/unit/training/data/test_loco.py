import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.data import DataError, load_samples, split_held_out

Save = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path, save_picture: Save, save_mask: Save) -> Path:
    """A category as MVTec-LOCO ships it: two defects in one picture, marked by different values."""
    category = tmp_path / "breakfast_box"
    for number in range(4):
        save_picture(category / f"train/good/{number:03d}.png")
    for number in range(2):
        save_picture(category / f"validation/good/{number:03d}.png")
    for kind in ("good", "logical_anomalies", "structural_anomalies"):
        save_picture(category / f"test/{kind}/000.png")
    save_mask(category / "ground_truth/logical_anomalies/000/000.png", (0, 0), (0, 1), (0, 2), (0, 3), value=255)
    save_mask(category / "ground_truth/logical_anomalies/000/001.png", (5, 5), (5, 6), value=254)
    save_mask(category / "ground_truth/structural_anomalies/000/000.png", (2, 2), value=253)
    config = [
        {"defect_name": "missing", "pixel_value": 255, "saturation_threshold": 0.5, "relative_saturation": True},
        {"defect_name": "swapped", "pixel_value": 254, "saturation_threshold": 1, "relative_saturation": False},
        {"defect_name": "dent", "pixel_value": 253, "saturation_threshold": 1.0, "relative_saturation": True},
    ]
    (category / "defects_config.json").write_text(json.dumps(config))
    return tmp_path


def test_validation_pictures_are_what_calibration_gets(root: Path) -> None:
    samples = load_samples("mvtec-loco", root, "train")
    training, held_out = split_held_out(samples, share=0.1, seed=0, minimum=1)
    assert [s.name for s in held_out] == [f"breakfast_box/validation/good/{n:03d}.png" for n in range(2)]
    assert [s.name for s in training] == [f"breakfast_box/train/good/{n:03d}.png" for n in range(4)]
    _, more = split_held_out(samples, share=0.1, seed=0, minimum=3)
    assert Counter(s.set_apart for s in more) == {True: 2, False: 1}


def test_every_defect_keeps_its_own_mask_and_saturation(root: Path) -> None:
    by_kind = {sample.defect: sample for sample in load_samples("mvtec-loco", root / "breakfast_box", "test")}
    assert set(by_kind) == {None, "logical_anomalies", "structural_anomalies"}
    logical = by_kind["logical_anomalies"]
    assert [(int(mask.sum()), saturation) for mask, saturation in logical.defects()] == [(4, 2.0), (2, 1.0)]
    assert np.count_nonzero(logical.mask()) == 6
    assert by_kind[None].defects() == []


def test_a_value_that_the_configuration_lacks_is_named(root: Path, save_mask: Save) -> None:
    path = save_mask(root / "breakfast_box/ground_truth/structural_anomalies/000/000.png", (1, 1), value=7)
    sample = load_samples("mvtec-loco", root, "test")[-1]
    with pytest.raises(DataError, match=rf"{path} has pixels of value 7"):
        sample.defects()
    save_mask(path)
    with pytest.raises(DataError, match=rf"{path} marks nothing"):
        sample.defects()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("validation", r"looked for pictures in .*validation/good; found: no such folder; expected layout"),
        ("defects_config.json", r"looked for defects_config\.json in .*breakfast_box; found: ground_truth/"),
        ("test/structural_anomalies", r"looked for pictures in .*structural_anomalies; found: no such folder"),
        (
            "ground_truth/logical_anomalies/000",
            r"looked for masks of .*/000\.png in .*; found: no such folder",
        ),
    ],
)
def test_an_incomplete_tree_is_refused_with_what_was_found(root: Path, broken: str, message: str) -> None:
    path = root / "breakfast_box" / broken
    path.rename(root / "elsewhere")
    with pytest.raises(DataError, match=message):
        load_samples("mvtec-loco", root, "train" if broken == "validation" else "test")


def test_a_damaged_configuration_is_refused(root: Path) -> None:
    (root / "breakfast_box/defects_config.json").write_text('[{"pixel_value": 255}]')
    with pytest.raises(DataError, match=r"defects_config\.json is damaged"):
        load_samples("mvtec-loco", root, "test")
