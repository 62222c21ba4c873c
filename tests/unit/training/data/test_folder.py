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


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (["ok/a.png", "nok/a.png"], "nok/, which would be a class of good pictures"),
        (["images/a.png", "Masks/a.png"], "Masks/, which would be a class of good pictures"),
        (["good/a.png", "scratched/a.png"], "scratched/, which would be left out"),
        (["good/a.png", "good/monday/b.png"], "monday/, which would be left out"),
        (["a.png", "older/d.png"], "older/, which would be left out"),
        (["bolts/good/a.png", "bolts/defects/a.png"], "defects/, which would be left out"),
        (["good/a.png", "bad/scratch/a.png"], "scratch/, which would be left out"),
        (["good/a.png", "bad/a.png", "masks/scratch/a.png"], "scratch/, which would be left out"),
        (["good/a.png", "good/2026/monday/b.png"], "2026/, which would be left out"),
        (["gear/a.png", "washer/monday/a.png"], "directly in washer/, where those below would be left out"),
    ],
)
def test_no_picture_is_left_out_or_learned_as_good_without_a_word(
    tmp_path: Path, save_picture: Save, files: list[str], why: str
) -> None:
    for file in files:
        save_picture(tmp_path / file)
    with pytest.raises(DataError, match=why):
        load_samples("folder", tmp_path, "train")


def test_linked_classes_keep_their_own_names(tmp_path: Path, save_picture: Save) -> None:
    for name in ("gear", "washer"):
        save_picture(tmp_path / f"line/{name}/current/a.png")
        (tmp_path / "parts").mkdir(exist_ok=True)
        (tmp_path / "parts" / name).symlink_to(tmp_path / f"line/{name}/current")
    assert [sample.category for sample in load_samples("folder", tmp_path / "parts", "train")] == ["gear", "washer"]


def test_capitals_do_not_matter(tmp_path: Path, save_picture: Save, save_mask: Save) -> None:
    save_picture(tmp_path / "Good/a.png")
    save_picture(tmp_path / "BAD/b.png")
    save_mask(tmp_path / "Masks/b.png", (1, 2))
    good, bad = load_samples("folder", tmp_path, "test")
    assert (good.label, bad.label) == (0, 1)
    assert bad.masks


def test_the_folder_is_its_only_class(tmp_path: Path, save_picture: Save) -> None:
    save_picture(tmp_path / "bolts/a.png")
    assert len(load_samples("folder", tmp_path / "bolts", "train", ["bolts"])) == 1
    with pytest.raises(DataError, match="unknown class 'nuts'; known classes: bolts"):
        load_samples("folder", tmp_path / "bolts", "train", ["nuts"])


def test_classes_that_differ_in_punctuation_alone_stay_apart(tmp_path: Path, save_picture: Save) -> None:
    for name in ("12-34", "123-4"):
        save_picture(tmp_path / name / f"{name}.png")
    assert [sample.category for sample in load_samples("folder", tmp_path, "train", ["12-34"])] == ["12-34"]
    assert [sample.category for sample in load_samples("folder", tmp_path, "train")] == ["12-34", "123-4"]
    with pytest.raises(DataError, match=r"class '1234' could be '12-34' or '123-4': write it as it is"):
        load_samples("folder", tmp_path, "train", ["1234"])


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
