from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.cli_options import Layout
from training.data import LAYOUTS, DataError, Sample, Split, fingerprint, load_samples
from training.errors import TrainingError

Save = Callable[..., Path]


def test_an_unknown_layout_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown layout 'coco'; known layouts: mvtec, mvtec-loco, .*, folder"):
        load_samples("coco", tmp_path, "train")
    assert issubclass(DataError, TrainingError)


def test_the_command_line_offers_every_layout() -> None:
    assert [layout.value for layout in Layout] == list(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_root_that_does_not_exist_is_named(tmp_path: Path, layout: str, split: Split) -> None:
    with pytest.raises(DataError, match=r"nowhere.*found: no such folder; expected layout"):
        load_samples(layout, tmp_path / "nowhere", split)


def test_the_fingerprint_depends_on_the_pictures_alone(tmp_path: Path, save_picture: Save) -> None:
    one, two = save_picture(tmp_path / "one.png"), save_picture(tmp_path / "two.png")
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    samples = [Sample("1", one, 0, "a"), Sample("2", two, 0, "a"), Sample("3", array, 0, "b")]
    whole = fingerprint(samples)
    assert len(whole) == 64

    moved = tmp_path / "elsewhere" / "renamed.png"
    moved.parent.mkdir()
    one.rename(moved)
    assert fingerprint([samples[2], samples[1], Sample("x", moved, 0, "c")]) == whole

    assert fingerprint(samples[1:]) != whole
    assert fingerprint([*samples[1:], samples[1]]) != whole
    assert fingerprint([*samples[1:], Sample("3", array + 1, 0, "b")]) != whole
