from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data import ANOMALOUS, GOOD, DataError, Sample, split_held_out

PIXEL = np.zeros((1, 1), dtype=np.uint8)


def good(**classes: int) -> list[Sample]:
    return [Sample(f"{name}/{n}", PIXEL, GOOD, name) for name, size in classes.items() for n in range(size)]


def names(samples: list[Sample]) -> list[str]:
    return [sample.name for sample in samples]


@given(st.lists(st.integers(2, 40), min_size=1, max_size=5), st.floats(0.01, 0.5), st.integers(0, 3), st.integers(0, 5))
def test_the_split_is_a_stratified_partition(sizes: list[int], share: float, seed: int, minimum: int) -> None:
    samples = good(**{f"c{index}": size for index, size in enumerate(sizes)})
    wanted = max(round(share * len(samples)), minimum)
    if wanted > len(samples) - len(sizes):
        with pytest.raises(DataError, match="add pictures"):
            split_held_out(samples, share, seed, minimum)
        return
    training, held_out = split_held_out(samples, share, seed, minimum)
    assert len(held_out) == wanted
    chosen = set(names(held_out))
    assert names(training) == [name for name in names(samples) if name not in chosen]
    assert names(held_out) == [name for name in names(samples) if name in chosen]
    kept = Counter(sample.category for sample in training)
    given_up = Counter(sample.category for sample in held_out)
    for index, size in enumerate(sizes):
        assert kept[f"c{index}"] >= 1
        exact = size * wanted / len(samples)
        if exact <= size - 1:  # a class that cannot give its share makes others give more
            assert given_up[f"c{index}"] >= int(exact)


def test_classes_give_in_proportion() -> None:
    _, held_out = split_held_out(good(a=100, b=50, c=10), share=0.1, seed=0, minimum=0)
    assert Counter(sample.category for sample in held_out) == {"a": 10, "b": 5, "c": 1}


def test_the_seed_decides() -> None:
    samples = good(a=100)
    first, again, other = (names(split_held_out(samples, 0.2, seed, 0)[1]) for seed in (7, 7, 8))
    assert first == again
    assert first != other
    assert first != names(samples[:20])


def test_anomalous_samples_stay_in_training() -> None:
    bad = [Sample(f"bad/{n}", PIXEL, ANOMALOUS, "a", "dent") for n in range(10)]
    training, held_out = split_held_out(good(a=10) + bad, 0.5, 0, 0)
    assert len(held_out) == 5
    assert all(sample.label == GOOD for sample in held_out)
    assert {sample.name for sample in bad} <= set(names(training))


def test_too_few_pictures_are_refused_with_the_numbers() -> None:
    with pytest.raises(DataError, match="5 good pictures in 1 classes cannot give 8 for calibration"):
        split_held_out(good(a=5), 0.1, 0, minimum=8)
    with pytest.raises(DataError, match="0 good pictures"):
        split_held_out([], 0.1, 0, minimum=8)
