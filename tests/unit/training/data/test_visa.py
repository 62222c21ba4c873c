from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.data import DataError, load_samples

Save = Callable[..., Path]
HEADER = "object,split,label,image,mask\n"


@pytest.fixture
def root(tmp_path: Path, save_picture: Save, save_mask: Save) -> Path:
    rows = []
    for category in ("candle", "pcb1"):
        for split, number in (("train", 0), ("train", 1), ("test", 2)):
            name = f"{category}/Data/Images/Normal/{number:04d}.JPG"
            save_picture(tmp_path / name)
            rows.append(f"{category},{split},normal,{name},")
        name, mask = f"{category}/Data/Images/Anomaly/000.JPG", f"{category}/Data/Masks/Anomaly/000.png"
        save_picture(tmp_path / name)
        save_mask(tmp_path / mask, (1, 1), (2, 2), value=3)
        rows.append(f"{category},test,anomaly,{name},{mask}")
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv/1cls.csv").write_text(HEADER + "\n".join(rows) + "\n")
    return tmp_path


def test_the_table_decides_the_split(root: Path) -> None:
    assert [s.name for s in load_samples("visa", root, "train", ["pcb1"])] == [
        f"pcb1/Data/Images/Normal/{n:04d}.JPG" for n in (0, 1)
    ]
    tested = load_samples("visa", root, "test")
    assert [(s.category, s.label) for s in tested] == [("candle", 0), ("candle", 1), ("pcb1", 0), ("pcb1", 1)]


def test_any_mask_value_but_zero_is_defect(root: Path) -> None:
    bad = load_samples("visa", root, "test", ["candle"])[1]
    assert np.argwhere(bad.mask()).tolist() == [[1, 1], [2, 2]]


def test_a_wrong_tree_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match="unknown class 'nut'; known classes: candle, pcb1"):
        load_samples("visa", root, "train", ["nut"])
    (root / "candle/Data/Images/Normal/0000.JPG").unlink()
    with pytest.raises(DataError, match=r"1cls\.csv names candle/.*0000\.JPG, but .* does not exist; expected layout"):
        load_samples("visa", root, "train")
    table = root / "split_csv/1cls.csv"
    table.write_text(HEADER + "candle,train,good,a.jpg,\n")
    with pytest.raises(DataError, match=r"1cls\.csv, line 2: .* is no row of the official table"):
        load_samples("visa", root, "train")
    table.write_text(HEADER)
    with pytest.raises(DataError, match="has no rows"):
        load_samples("visa", root, "train")
    table.unlink()
    with pytest.raises(DataError, match=r"looked for split_csv/1cls\.csv in .*; found: candle/, pcb1/, split_csv/"):
        load_samples("visa", root, "train")


def test_a_table_in_another_encoding_is_refused(root: Path) -> None:
    table = root / "split_csv/1cls.csv"
    table.write_bytes(table.read_text().encode("utf-16"))
    with pytest.raises(DataError, match=r"1cls\.csv is no table in UTF-8 .*; expected layout"):
        load_samples("visa", root, "train")
