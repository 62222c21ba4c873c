"""The baseline against its definition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F

from service.images import resize_square
from training.benchmark.neighbours import NeighbourScorer
from training.teacher import load_teacher

MakePictures = Callable[[int, int], npt.NDArray[np.uint8]]


@pytest.fixture(scope="module")
def pictures(good_pictures: MakePictures) -> npt.NDArray[np.uint8]:
    return np.stack([resize_square(picture, 56) for picture in good_pictures(10, 3)])


@pytest.fixture(scope="module")
def scorer(teacher_folder: Path, pictures: npt.NDArray[np.uint8]) -> NeighbourScorer:
    return NeighbourScorer(load_teacher(str(teacher_folder), 56), pictures[:6], classes=1, seed=0)


def test_a_picture_of_the_memory_is_no_anomaly(scorer: NeighbourScorer, pictures: npt.NDArray[np.uint8]) -> None:
    outputs = scorer.score(pictures)
    assert outputs["semantic_score"][:6] == pytest.approx(np.zeros(6), abs=2e-3)
    assert outputs["local_score"][:6] == pytest.approx(np.zeros(6), abs=2e-3)
    assert (outputs["semantic_score"][6:] > 0.003).all()
    assert (outputs["local_score"][6:] > 0.003).all()
    assert outputs["anomaly_map"].shape == (10, 256, 256)


def test_the_semantic_score_is_the_distance_to_the_nearest_class_token(
    scorer: NeighbourScorer, pictures: npt.NDArray[np.uint8]
) -> None:
    with torch.inference_mode():
        tokens = F.normalize(scorer.teacher(torch.tensor(pictures))[-1][:, 0], dim=-1)
    expected = torch.cdist(tokens[6:].double(), tokens[:6].double()).amin(1).numpy()
    assert scorer.score(pictures[6:])["semantic_score"] == pytest.approx(expected, rel=1e-3)


def test_a_spot_lights_up_where_it_is(scorer: NeighbourScorer, pictures: npt.NDArray[np.uint8]) -> None:
    spotted = pictures[:1].copy()
    spotted[0, 28:42, :14] = (255, 0, 0)
    (anomaly_map,) = scorer.score(spotted)["anomaly_map"]
    assert anomaly_map[128:192, :64].mean() > 2 * anomaly_map[:, 128:].mean()
