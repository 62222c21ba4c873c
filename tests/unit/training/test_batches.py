"""Each step's pictures: every one in turn, every class in turn, and spoilt copies of some."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from training.batches import Batches
from training.fit_settings import FitSettings


def numbered(count: int, size: int = 1) -> npt.NDArray[np.uint8]:
    """Pictures whose pixels are all their own number."""
    pictures: npt.NDArray[np.uint8] = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)
    return pictures.repeat(size, 1).repeat(size, 2).repeat(3, 3)


def settings(**changes: Any) -> FitSettings:
    return FitSettings.model_validate({"spoilt_share": 0.0} | changes)


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (3, 8), (7, 7)])
def test_every_epoch_shows_every_picture_once(count: int, batch_size: int) -> None:
    batches = Batches(numbered(count), [count], settings(batch_size=batch_size, seed=3))
    shown = torch.cat([batches[step].pictures for step in range(count)])[:, 0, 0, 0].tolist()
    assert np.bincount(shown, minlength=count).tolist() == [batch_size] * count  # `batch_size` whole epochs
    again = Batches(numbered(count), [count], settings(batch_size=batch_size, seed=3))
    assert torch.equal(batches[5].pictures, again[5].pictures)
    other = Batches(numbered(count), [count], settings(batch_size=batch_size, seed=4))
    assert any(not torch.equal(batches[step].pictures, other[step].pictures) for step in range(count))


def test_classes_take_turns_whatever_their_sizes() -> None:
    batches = Batches(numbered(12), [7, 2, 3], settings(batch_size=6))
    shown = torch.stack([batches[step].pictures[:, 0, 0, 0] for step in range(42)])
    for members in (range(7), range(7, 9), range(9, 12)):
        of_class = torch.isin(shown, torch.tensor(members))
        assert (of_class.sum(1) == 2).all()  # a third of every batch
        assert np.bincount(shown[of_class].tolist())[members.start :].tolist() == [84 // len(members)] * len(members)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.5, 3), (1.0, 6)])
def test_the_last_pictures_of_a_batch_have_spoilt_copies(share: float, count: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 28, 28, 3), dtype=np.uint8)
    batches = Batches(noise, [6], settings(batch_size=6, spoilt_share=share))
    for step in range(20):
        pictures, spoilt, *_ = batches[step]
        assert spoilt.shape == (count, 28, 28, 3)
        changed = (spoilt != pictures[6 - count :]).any(-1).float().mean((1, 2))
        assert (changed < 1).all()  # some of each picture is as it was
        assert (changed > 0).float().mean() > 0.9 if count else True
        assert torch.equal(spoilt, batches[step].spoilt)


def test_every_class_is_spoilt() -> None:
    batches = Batches(numbered(4, size=28), [1, 1, 1, 1], settings(batch_size=4, spoilt_share=0.5))
    spoilt = torch.cat([batches[step].spoilt for step in range(40)])
    assert set(spoilt.flatten(1).median(1).values.tolist()) == {0, 1, 2, 3}


def test_without_turns_all_classes_are_one() -> None:
    batches = Batches(numbered(12), [7, 2, 3], settings(batch_size=6, class_turns=False))
    shown = torch.cat([batches[step].pictures[:, 0, 0, 0] for step in range(4)])  # two epochs
    assert np.bincount(shown.tolist()).tolist() == [2] * 12
