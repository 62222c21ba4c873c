import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from training.data import DataError, load_samples
from training.data.cifar100 import CLASSES, SUPERCLASSES

Save = Callable[..., Path]
FINE = [(category, name) for category, names in SUPERCLASSES.items() for name in names]


@pytest.fixture(params=["fine", "nested"])
def root(request: pytest.FixtureRequest, tmp_path: Path, save_picture: Save) -> Path:
    """A picture of each fine class, in its own folder, with or without its superclass's above it."""
    for split in ("train", "test"):
        for category, name in FINE:
            folder = tmp_path / split / category if request.param == "nested" else tmp_path / split
            save_picture(folder / name / "0000.png")
    return tmp_path


def test_there_are_twenty_superclasses_of_five() -> None:
    assert len(CLASSES) == 20
    assert len({name for _, name in FINE}) == 100


def test_superclasses_are_what_is_normal(root: Path) -> None:
    assert [s.name for s in load_samples("cifar100", root, "train", ["fish"])] == [
        f"train/fish/{name}/0000.png" for name in SUPERCLASSES["fish"]
    ]
    tested = load_samples("cifar100", root, "test", ["Fish", "large man-made outdoor things"])
    assert Counter(s.label for s in tested) == {0: 10, 1: 90}
    with pytest.raises(DataError, match="unknown class 'trout'; known classes: aquatic_mammals"):
        load_samples("cifar100", root, "train", ["trout"])


def test_a_missing_fine_class_is_named(root: Path) -> None:
    for folder in root.glob("test/**/wolf"):
        shutil.rmtree(folder)
    with pytest.raises(DataError, match=r"looked for pictures in test/wolf in .*/test; found: "):
        load_samples("cifar100", root, "test", ["fish"])
