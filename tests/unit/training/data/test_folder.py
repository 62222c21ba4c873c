from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.data import DataError, load_samples

Save = Callable[..., Path]


def test_pictures_directly_in_the_folder_are_good(tmp_path: Path, save_picture: Save) -> None:
    root = tmp_path / "line 3"
    for name in ("b.png", "a.jpg", "c.bmp"):
        save_picture(root / name)
    save_picture(root / "older/d.png")
    for split in ("train", "test"):
        samples = load_samples("folder", root, split)
        assert [sample.name for sample in samples] == ["line 3/a.jpg", "line 3/b.png", "line 3/c.bmp"]
        assert {(sample.label, sample.category) for sample in samples} == {(0, "line 3")}


def test_bad_pictures_are_for_testing_alone(tmp_path: Path, save_picture: Save) -> None:
    save_picture(tmp_path / "good/a.png")
    save_picture(tmp_path / "bad/a.png")
    save_picture(tmp_path / "stray.png")
    assert [sample.source for sample in load_samples("folder", tmp_path, "train")] == [tmp_path / "good/a.png"]
    tested = load_samples("folder", tmp_path, "test")
    assert [(sample.source, sample.label) for sample in tested] == [(tmp_path / "good/a.png", 0), (tmp_path / "bad/a.png", 1)]
    assert not tested[1].has_mask


def test_a_folder_without_good_pictures_is_refused(tmp_path: Path, save_picture: Save) -> None:
    with pytest.raises(DataError, match=r"nowhere; found: no such folder; expected layout: good/NAME\.png"):
        load_samples("folder", tmp_path / "nowhere", "train")
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    with pytest.raises(DataError, match=r"looked for pictures in .*; found: a\.gif"):
        load_samples("folder", tmp_path, "train")
    with pytest.raises(DataError, match="found: a file, not a folder"):
        load_samples("folder", tmp_path / "a.gif", "train")
    save_picture(tmp_path / "bad/a.png")
    with pytest.raises(DataError, match=r"looked for pictures in .*good; found: no such folder"):
        load_samples("folder", tmp_path, "train")


def test_the_folder_is_its_only_class(tmp_path: Path, save_picture: Save) -> None:
    save_picture(tmp_path / "bolts/a.png")
    assert len(load_samples("folder", tmp_path / "bolts", "train", ["bolts"])) == 1
    with pytest.raises(DataError, match="unknown class 'nuts'; known classes: bolts"):
        load_samples("folder", tmp_path / "bolts", "train", ["nuts"])


def test_a_folder_of_folders_holds_classes(tmp_path: Path, save_picture: Save, save_mask: Save) -> None:
    save_picture(tmp_path / "bolts/a.png")
    save_picture(tmp_path / "nuts/good/a.png")
    save_picture(tmp_path / "nuts/bad/b.jpg")
    save_mask(tmp_path / "nuts/masks/b.png", (1, 2))
    (tmp_path / "notes").mkdir()
    assert [sample.name for sample in load_samples("folder", tmp_path, "train")] == ["bolts/a.png", "nuts/good/a.png"]
    tested = load_samples("folder", tmp_path, "test", ["nuts"])
    assert [(sample.name, sample.category, sample.label) for sample in tested] == [
        ("nuts/good/a.png", "nuts", 0),
        ("nuts/bad/b.jpg", "nuts", 1),
    ]
    assert np.argwhere(tested[1].mask()).tolist() == [[1, 2]]


def test_all_bad_pictures_have_a_mask_or_none_has(tmp_path: Path, save_picture: Save, save_mask: Save) -> None:
    for name in ("good/a.png", "bad/a.png", "bad/b.png"):
        save_picture(tmp_path / name)
    save_mask(tmp_path / "masks/a.png", (1, 2))
    with pytest.raises(DataError, match=r"bad/b\.png has no mask: looked for .*masks/b\.png; expected layout"):
        load_samples("folder", tmp_path, "test")
    save_mask(tmp_path / "masks/b.png", (1, 2))
    assert all(sample.has_mask for sample in load_samples("folder", tmp_path, "test"))
