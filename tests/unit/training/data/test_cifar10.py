import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from training.data import DataError, load_samples
from training.data.cifar10 import CLASSES

Save = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path, save_picture: Save) -> Path:
    for name in CLASSES:
        for number in range(2):
            save_picture(tmp_path / "train" / name / f"{number:04d}.jpg")
        save_picture(tmp_path / "test" / name / "0000.jpg")
    return tmp_path


def test_train_holds_the_normal_classes_alone(root: Path) -> None:
    samples = load_samples("cifar10", root, "train", ["ship", "Dog"])
    assert [sample.name for sample in samples] == [f"train/{c}/{n}.jpg" for c in ("dog", "ship") for n in ("0000", "0001")]
    assert Counter(sample.label for sample in samples) == {0: 4}


def test_test_holds_all_ten_classes(root: Path) -> None:
    samples = load_samples("cifar10", root, "test", ["ship"])
    assert {sample.category: sample.label for sample in samples} == {name: int(name != "ship") for name in CLASSES}
    assert all(sample.source == root / "test" / sample.category / "0000.jpg" for sample in samples)


def test_every_class_is_normal_unless_some_are_named(root: Path) -> None:
    assert len(load_samples("cifar10", root, "train")) == 20


def test_unknown_classes_and_missing_folders_are_named(root: Path) -> None:
    with pytest.raises(DataError, match=r"unknown class 'boat'; known classes: airplane, .*, truck"):
        load_samples("cifar10", root, "train", ["boat"])
    shutil.rmtree(root / "test" / "frog")
    with pytest.raises(
        DataError, match=r"looked for pictures in test/frog in .*/test; found: airplane/, .* and 1 more; expected"
    ):
        load_samples("cifar10", root, "test", ["ship"])
    with pytest.raises(DataError, match=r"looked for pictures in train/airplane in .*nowhere; found: no such folder"):
        load_samples("cifar10", root / "nowhere", "train")
