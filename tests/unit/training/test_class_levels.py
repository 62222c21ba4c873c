"""Levels of the classes: no class's good pictures may hide another's defects."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from service.model_format import TrainingData
from training.calibrate import calibrate_run, joint_score
from training.class_levels import ClassLevels, LevelScale, nearest_class, prototypes
from training.data import Sample
from training.export import export_run
from training.fit import fit, prepare_run
from training.fit_settings import FitSettings
from training.good_scores import HeldOutScores, good_scores, held_out_scores
from training.measured_levels import class_levels, tail_quantiles
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
    """The level of the stripes and of the noise."""
    assert scores.local is not None
    return tail_quantiles([scores.local[:20], scores.local[20:]], 0.01)


def test_scaled_scores_of_the_classes_have_one_level(two_classes: RunFolder) -> None:
    levels = two_classes.calibration().levels
    assert levels is not None
    plain = quantiles(held_out_scores(two_classes.raw_graph(), two_classes.held_out()))
    scaled = quantiles(held_out_scores(two_classes.raw_graph(levels=levels), two_classes.held_out()))
    assert max(plain) > 1.3 * min(plain)  # else there is nothing to show
    assert max(scaled) < 1.05 * min(scaled)
    assert levels.local == pytest.approx(plain)


def test_calibration_is_of_scores_by_levels_that_the_pictures_had_no_part_in(two_classes: RunFolder) -> None:
    outcome, held_out = two_classes.calibration(), two_classes.held_out()
    plain = held_out_scores(two_classes.raw_graph(), held_out).local
    assert plain is not None
    assert len(outcome.part_levels) == 5
    joint = []
    for number, levels in enumerate(outcome.part_levels):
        others = np.arange(len(held_out)) % 5 != number
        expected = tail_quantiles([plain[others & owner] for owner in (np.arange(40) < 20, np.arange(40) >= 20)], 0.01)
        assert levels.local == pytest.approx(expected)
        scored = held_out_scores(two_classes.raw_graph(levels=levels), held_out[~others])
        joint += joint_score(scored, outcome.calibration).tolist()
    np.testing.assert_allclose(sorted(joint), outcome.joint_scores, rtol=1e-4)


def test_calibration_anew_is_of_the_same_scores(two_classes: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(two_classes.path, tmp_path / "copy"))
    before = run.calibration()
    assert calibrate_run(run, before.alpha) == before


def test_a_calibration_of_an_earlier_version_keeps_its_levels_for_all(two_classes: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(two_classes.path, tmp_path / "copy"))
    kept = json.loads(run.calibration_file.read_text())
    del kept["part_levels"]
    run.calibration_file.write_text(json.dumps(kept))
    outcome = run.calibration()
    assert outcome.part_levels == (outcome.levels,)
    served = held_out_scores(run.raw_graph(levels=outcome.levels), run.held_out())
    found = good_scores(run, levels=outcome.part_levels)
    np.testing.assert_allclose(found.local, served.local, rtol=1e-5)


def test_tail_quantiles_are_those_of_the_populations() -> None:
    """Two classes whose scores have Pareto tails, whose quantiles are known: the mean over many draws of 250 scores."""
    rng = np.random.default_rng(0)
    found = np.log([tail_quantiles([rng.random(250) ** -0.1, 3 * rng.random(250) ** -0.4], 0.01) for _ in range(200)])
    expected = np.log([0.01**-0.1, 3 * 0.01**-0.4])
    np.testing.assert_allclose(found.mean(axis=0), expected, atol=0.12)
    assert (found.std(axis=0) < 0.2).all()


@pytest.mark.parametrize("count", [3, 5, 8, 20])
def test_levels_of_alike_classes_are_alike_however_few_pictures_there_are(count: int) -> None:
    """More alike than the largest scores of each."""
    rng = np.random.default_rng(0)
    ratios, largest = [], []
    for _ in range(500):
        classes = list(np.exp(0.25 * rng.normal(size=(6, count))))
        found = np.log(tail_quantiles(classes, 0.01))
        ratios.append(found[0] - found[1])
        largest.append(np.log(classes[0].max() / classes[1].max()))
    assert np.quantile(np.abs(ratios), 0.9) < np.quantile(np.abs(largest), 0.9)


@pytest.mark.parametrize(
    "classes", [[[0.3], [0.3]], [[0.0, 0.0, 0.0], [0.0]], [[0.2] * 6, [0.2]], [[0.0, 0.2], [0.1, 0.1, 0.1]]]
)
def test_equal_and_missing_scores_have_levels_too(classes: list[list[float]]) -> None:
    found = tail_quantiles([np.array(scores) for scores in classes], 0.01)
    assert np.isfinite(found).all()
    assert min(found) > 0


def test_a_single_held_out_picture_is_enough_for_levels(two_classes: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(two_classes.path, tmp_path / "copy"))
    np.save(run.held_out_file, np.array(run.held_out()[:1]))
    levels, of_parts = class_levels(run)
    assert of_parts == (levels,)
    assert min(levels.local) > 0


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
