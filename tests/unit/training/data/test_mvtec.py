from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.data import DataError, load_samples

Save = Callable[..., Path]


@pytest.fixture
def category(tmp_path: Path, save_picture: Save, save_mask: Save) -> Path:
    """A category with masks in both namings and things that are no pictures."""
    root = tmp_path / "parts" / "washer"
    for number in range(3):
        save_picture(root / f"train/good/{number:03d}.png")
    save_picture(root / "test/good/000.jpg")
    save_picture(root / "test/scratch/000.png")
    save_picture(root / "test/dent/000.JPG")
    save_mask(root / "ground_truth/scratch/000_mask.png", (1, 2))
    save_mask(root / "ground_truth/dent/000.png", (3, 4))
    (root / "train/good/.hidden.png").write_bytes(b"")
    (root / "readme.txt").write_text("licence")
    return root


def test_train_holds_the_good_pictures_alone(category: Path) -> None:
    samples = load_samples("mvtec", category, "train")
    assert [sample.name for sample in samples] == [f"washer/train/good/{number:03d}.png" for number in range(3)]
    assert {(sample.label, sample.category, sample.defect) for sample in samples} == {(0, "washer", None)}


def test_test_pairs_pictures_with_their_masks(category: Path) -> None:
    samples = {sample.name: sample for sample in load_samples("mvtec", category, "test")}
    assert {name: (sample.label, sample.defect) for name, sample in samples.items()} == {
        "washer/test/dent/000.JPG": (1, "dent"),
        "washer/test/good/000.jpg": (0, None),
        "washer/test/scratch/000.png": (1, "scratch"),
    }
    assert np.argwhere(samples["washer/test/scratch/000.png"].mask()).tolist() == [[1, 2]]
    assert np.argwhere(samples["washer/test/dent/000.JPG"].mask()).tolist() == [[3, 4]]
    assert not samples["washer/test/good/000.jpg"].mask().any()


def test_several_categories_make_one_set_and_normal_chooses(category: Path, save_picture: Save) -> None:
    root = category.parent
    for name in ("gear", "label"):
        save_picture(root / name / "train/good/000.png")
        save_picture(root / name / "test/good/000.png")
    (root / "papers").mkdir()
    assert Counter(sample.category for sample in load_samples("mvtec", root, "train")) == {"gear": 1, "label": 1, "washer": 3}
    assert {sample.category for sample in load_samples("mvtec", root, "test", ["Washer", "gear"])} == {"washer", "gear"}
    with pytest.raises(DataError, match=r"unknown class 'nut'; known classes: gear, label, washer"):
        load_samples("mvtec", root, "train", ["nut"])


def test_linked_categories_keep_their_own_names(category: Path) -> None:
    linked = category.parent.parent / "linked"
    linked.mkdir()
    for name in ("one", "two"):
        (linked / name).symlink_to(category)
    assert Counter(sample.category for sample in load_samples("mvtec", linked, "train")) == {"one": 3, "two": 3}


def test_without_ground_truth_there_are_no_masks(category: Path) -> None:
    (category / "ground_truth").rename(category.parent.parent / "elsewhere")
    assert [sample.has_mask for sample in load_samples("mvtec", category, "test")] == [False, True, False]


def test_a_missing_mask_is_named(category: Path) -> None:
    (category / "ground_truth/scratch/000_mask.png").unlink()
    with pytest.raises(DataError, match=r"scratch/000\.png has no mask: looked for .*ground_truth/scratch/000_mask\.png"):
        load_samples("mvtec", category, "test")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ([], "no such folder"),
        (["tree/"], "found: nothing"),
        (["tree/pictures/", "tree/notes.txt"], "found: notes.txt, pictures/; expected layout: .*train/good"),
        (["tree/train/"], r"looked for pictures in .*tree/train/good; found: no such folder"),
        (["tree/train/good/", "tree/train/good/a.txt"], r"looked for pictures in .*tree/train/good; found: a.txt"),
        (["tree/a/train/"], r"looked for pictures in .*tree/a/train/good"),
    ],
)
def test_other_layouts_are_refused_with_what_was_found(tmp_path: Path, make: list[str], message: str) -> None:
    for entry in make:
        path = tmp_path / entry
        if entry.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.write_text("")
    with pytest.raises(DataError, match=message):
        load_samples("mvtec", tmp_path / "tree", "train")


def test_a_tree_to_train_on_alone_cannot_be_tested(tmp_path: Path, save_picture: Save) -> None:
    save_picture(tmp_path / "train/good/000.png")
    assert len(load_samples("mvtec", tmp_path, "train")) == 1
    with pytest.raises(DataError, match=r"looked for folders of pictures in .*/test; found: no such folder"):
        load_samples("mvtec", tmp_path, "test")
