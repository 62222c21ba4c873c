"""Several data sets read as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from training.data import DataError, Source, load_sources
from training.data.errors import UnknownClassError

Save = Callable[..., Path]


@pytest.fixture
def sources(tmp_path: Path, save_picture: Save) -> list[Source]:
    """Two categories of parts in MVTec layout, and a folder of good pictures."""
    for category in ("gear", "washer"):
        for number in range(2):
            save_picture(tmp_path / "parts" / category / "train" / "good" / f"{number}.png")
        save_picture(tmp_path / "parts" / category / "test" / "good" / "0.png")
        save_picture(tmp_path / "parts" / category / "test" / "dent" / "0.png")
    for number in range(3):
        save_picture(tmp_path / "shoes" / f"{number}.png")
    return [Source("mvtec", tmp_path / "parts"), Source("folder", tmp_path / "shoes")]


def categories(sources: list[Source], normal: list[str]) -> Counter[str]:
    return Counter(sample.category for sample in load_sources(sources, "train", normal))


def test_without_a_choice_everything_is_normal(sources: list[Source]) -> None:
    assert [sample.category for sample in load_sources(sources, "train", [])] == ["gear"] * 2 + ["washer"] * 2 + [
        "shoes"
    ] * 3  # source after source


def test_each_source_takes_the_classes_that_it_knows(sources: list[Source]) -> None:
    assert categories(sources, ["washer", "shoes"]) == {"washer": 2, "shoes": 3}
    assert sources[0].claimed(["shoes", "washer", "gear"]) == ["washer", "gear"]
    assert sources[1].claimed(["shoes", "washer", "gear"]) == ["shoes"]


def test_a_source_without_a_choice_of_its_own_is_normal_as_a_whole(sources: list[Source]) -> None:
    assert categories(sources, ["gear"]) == {"gear": 2, "shoes": 3}


def test_test_splits_join_too(sources: list[Source]) -> None:
    samples = load_sources(sources, "test", ["gear", "shoes"])
    assert Counter((sample.category, sample.label) for sample in samples) == {("gear", 0): 1, ("gear", 1): 1, ("shoes", 0): 3}


def test_a_class_that_no_source_has_is_refused(sources: list[Source]) -> None:
    with pytest.raises(UnknownClassError, match="no data set has a class 'boot', 'hat'"):
        load_sources(sources, "train", ["boot", "gear", "hat"])


def test_a_single_source_lists_the_classes_that_it_has(sources: list[Source]) -> None:
    with pytest.raises(UnknownClassError, match="unknown class 'boot'; known classes: gear, washer"):
        load_sources(sources[:1], "train", ["gear", "boot"])


def test_a_source_that_cannot_be_read_is_an_error_and_not_an_unknown_class(sources: list[Source], tmp_path: Path) -> None:
    missing = Source("mvtec", tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"nowhere.*no such folder"):
        load_sources([*sources, missing], "train", ["gear"])
    with pytest.raises(DataError, match="unknown layout 'mtvec'"):
        load_sources([Source("mtvec", tmp_path)], "train", [])
