from collections.abc import Callable
from pathlib import Path

import pytest

from training.data import DataError, load_samples
from training.data.view import CLASSES

Save = Callable[..., Path]


def test_scenes_are_split_by_folder(tmp_path: Path, save_picture: Save) -> None:
    for split in ("train", "test"):
        for name in CLASSES:
            save_picture(tmp_path / split / name / "1.jpg")
    assert [s.name for s in load_samples("view", tmp_path, "train", ["sea"])] == ["train/sea/1.jpg"]
    assert {s.category: s.label for s in load_samples("view", tmp_path, "test", ["sea"])} == {
        c: int(c != "sea") for c in CLASSES
    }
    (tmp_path / "test/street/1.jpg").unlink()
    with pytest.raises(DataError, match=r"looked for pictures in test/street in .*/test/street; found: nothing"):
        load_samples("view", tmp_path, "test", ["sea"])
