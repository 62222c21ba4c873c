"""What MVTec-LOCO asks for beyond the other sets: both kinds of anomaly by themselves, and sPRO at full size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from training.data import Sample
from training.data.sample import Saturation
from training.measures import measure
from training.metrics import image_auroc, spro

SATURATIONS = {255: Saturation(0.5, relative=True), 254: Saturation(6, relative=False)}
HEIGHT, WIDTH = 40, 64


def save_mask(file: Path, top: int, left: int, value: int) -> Path:
    pixels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    pixels[top : top + 4, left : left + 6] = value
    Image.fromarray(pixels).save(file)
    return file


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    masks = [save_mask(tmp_path / f"{n}.png", 8 * n, 10 * n, value) for n, value in enumerate((255, 254, 255))]
    good = [Sample(f"good/{n}", pixels, 0, "box") for n in range(3)]
    return [
        *good,
        Sample("logical", pixels, 1, "box", "logical_anomalies", tuple(masks[:2]), SATURATIONS),
        Sample("structural", pixels, 1, "box", "structural_anomalies", (masks[2],), SATURATIONS),
    ]


@pytest.fixture
def maps() -> dict[int, npt.NDArray[np.float32]]:
    return dict(enumerate(np.random.default_rng(0).random((5, 256, 256), dtype=np.float32)))


def test_both_kinds_are_measured_against_the_same_good_pictures(
    samples: list[Sample], maps: dict[int, npt.NDArray[np.float32]]
) -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.25, 0.4], dtype=np.float32)
    metrics = measure(samples, {"joint_score": scores}, maps)
    assert metrics["image_auroc_logical_anomalies/joint"] == pytest.approx(2 / 3)
    assert metrics["image_auroc_structural_anomalies/joint"] == 1.0
    assert metrics["image_auroc_mean_of_kinds/joint"] == pytest.approx(5 / 6)
    assert metrics["image_auroc/joint"] == image_auroc(scores, [0, 0, 0, 1, 1])


def test_spro_is_taken_at_the_size_of_the_ground_truth(samples: list[Sample], maps: dict[int, npt.NDArray[np.float32]]) -> None:
    metrics = measure(samples, {}, maps)
    enlarged = [np.asarray(Image.fromarray(maps[i]).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)) for i in range(5)]
    nothing = np.zeros((0, HEIGHT, WIDTH), dtype=bool)
    stacks = [nothing] * 3 + [np.stack([np.asarray(Image.open(m)) > 0 for m in sample.masks]) for sample in samples[3:]]
    saturations = [[], [], [], [12.0, 6.0], [12.0]]
    for limit in (0.05, 0.3):
        found = {}
        for kind, number in (("logical", 3), ("structural", 4)):
            chosen = [0, 1, 2, number]
            parts = ([whole[i] for i in chosen] for whole in (enlarged, stacks, saturations))
            found[kind] = spro(*parts, limit)
            assert metrics[f"spro_{limit}_{kind}_anomalies/local"] == pytest.approx(found[kind])
        assert metrics[f"spro_{limit}/local"] == pytest.approx(sum(found.values()) / 2)  # as the benchmark's own script


def test_other_sets_have_none_of_these(samples: list[Sample], maps: dict[int, npt.NDArray[np.float32]]) -> None:
    plain = [Sample(s.name, s.source, s.label, s.category, s.defect, s.masks) for s in samples]
    metrics = measure(plain, {"joint_score": np.arange(5, dtype=np.float32)}, maps)
    assert not [name for name in metrics if "spro" in name or "anomalies" in name]


def test_what_is_of_no_normal_class_counts_against_each_of_them() -> None:
    """A set of classes: the mean over the normal ones beside the pooled figure."""
    of = {"cat": 0, "dog": 0, "ship": 1}
    scores = {"cat": (0.1, 0.2), "dog": (0.5, 0.6), "ship": (0.15, 0.7)}
    samples = [Sample(f"{name}/{i}", np.zeros((4, 4), np.uint8), label, name) for name, label in of.items() for i in range(2)]
    outputs = {"joint_score": np.array([score for name in of for score in scores[name]], dtype=np.float32)}
    metrics = measure(samples, outputs, {})
    assert metrics["image_auroc/joint/cat"] == pytest.approx(3 / 4)
    assert metrics["image_auroc/joint/dog"] == pytest.approx(2 / 4)
    assert metrics["image_auroc_mean/joint"] == pytest.approx(5 / 8)
    assert metrics["image_auroc/joint"] == pytest.approx(5 / 8)
