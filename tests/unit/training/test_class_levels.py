"""Levels of the classes: no class's good pictures may hide another's defects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from service.model_format import TrainingData
from training.calibrate import HeldOutScores, calibrate_run, held_out_scores, joint_score, upper_quantile
from training.class_levels import ClassLevels, LevelScale, nearest_class, prototypes
from training.data import Sample
from training.export import export_run
from training.fit import fit, prepare_run
from training.fit_settings import FitSettings
from training.run_folder import RunFolder
from training.scorers import OnnxScorer, RunScorer

EAST, NORTH = (1.0, 0.0, 0.0), (0.0, 2.0, 0.0)


def test_a_picture_like_one_class_is_measured_by_its_level() -> None:
    scale = LevelScale(ClassLevels(prototypes=(EAST, NORTH), local=(0.1, 0.4)))
    torch.testing.assert_close(scale(torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.5, 0.0]])), torch.tensor([2.0, 0.5]))


def test_between_classes_the_level_changes_smoothly() -> None:
    scale = LevelScale(ClassLevels(prototypes=(EAST, NORTH), local=(0.1, 0.4)))
    angles = torch.linspace(0, torch.pi / 2, 1001)
    local = scale(torch.stack((angles.cos(), angles.sin(), torch.zeros_like(angles)), dim=-1))
    assert (local.diff() <= 1e-6).all()
    assert local.diff().abs().max() < 0.05
    torch.testing.assert_close(local[500], torch.tensor(1.0), rtol=0, atol=1e-3)


def test_prototypes_are_means_of_directions() -> None:
    tokens = [torch.tensor([[1.0, 0.0], [0.0, 9.0]]), torch.tensor([[-4.0, 0.0]])]
    found = prototypes(tokens)
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5], [-1.0, 0.0]]))
    assert nearest_class(torch.tensor([[5.0, 4.0], [-1.0, 0.2]]), found).tolist() == [0, 1]


@pytest.fixture(scope="module")
def two_classes(
    tmp_path_factory: pytest.TempPathFactory, teacher_folder: Path, good_samples: Callable[[int, int], list[Sample]]
) -> RunFolder:
    """A run on stripes, which are easily rebuilt, and on noise, which is not."""

    def samples(count: int, seed: int) -> list[Sample]:
        noise = np.random.default_rng(seed).integers(0, 256, (count, 48, 48, 3), dtype=np.uint8)
        return good_samples(count, seed) + [Sample(f"noise/{i}", picture, 0, "noise") for i, picture in enumerate(noise)]

    settings = FitSettings(
        teacher=str(teacher_folder), input_size=56, steps=40, batch_size=8, warmup_steps=2, encoder_depth=3, taught_blocks=2
    )
    facts = TrainingData(layout="folder", normal=("stripes", "noise"), images=48, fingerprint="0" * 64)
    run = prepare_run(tmp_path_factory.mktemp("runs") / "two", settings, samples(24, 1), samples(20, 2), facts)
    assert fit(run)
    calibrate_run(run, alpha=0.1)
    return run


def quantiles(scores: HeldOutScores) -> list[float]:
    """The local score's upper quantile of the stripes and of the noise."""
    assert scores.local is not None
    return [upper_quantile(part, 0.1) for part in (scores.local[:20], scores.local[20:])]


def test_scaled_scores_of_the_classes_have_one_level(two_classes: RunFolder) -> None:
    levels = two_classes.calibration().levels
    assert levels is not None
    plain = quantiles(held_out_scores(two_classes.raw_graph(), two_classes.held_out()))
    scaled = quantiles(held_out_scores(two_classes.raw_graph(levels=levels), two_classes.held_out()))
    assert max(plain) > 1.3 * min(plain)  # else there is nothing to show
    assert max(scaled) < 1.05 * min(scaled)
    assert levels.local == pytest.approx(plain)


def test_calibration_is_of_the_very_scores_that_the_graph_gives(two_classes: RunFolder) -> None:
    outcome = two_classes.calibration()
    served = held_out_scores(two_classes.raw_graph(levels=outcome.levels), two_classes.held_out())
    np.testing.assert_allclose(np.sort(joint_score(served, outcome.calibration)), outcome.joint_scores, rtol=1e-4)


def test_the_exported_file_scores_alike(two_classes: RunFolder, tmp_path: Path) -> None:
    pictures = np.array(two_classes.held_out()[10:30])
    expected = RunScorer(two_classes).score(pictures)
    found = OnnxScorer(export_run(two_classes, "two", tmp_path)).score(pictures)
    for name in ("local_score", "semantic_score", "joint_score", "anomaly_map"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6)


def test_one_class_needs_no_levels(finished_run: RunFolder) -> None:
    assert finished_run.calibration().levels is None


def test_a_run_may_do_without(tmp_path: Path, new_run: Callable[..., RunFolder]) -> None:
    run = new_run(tmp_path / "run", class_levels=False, steps=1)
    described = run.description()
    halves = described.model_copy(update={"class_counts": (12, 12)})
    run.description_file.write_text(halves.model_dump_json())
    assert fit(run)
    assert calibrate_run(run, 0.1).levels is None
    assert run.calibrated_graph().raw.scale is None
