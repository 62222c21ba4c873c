"""Training and measuring on a real CUDA device, a part of `make test-gpu`. Skipped where torch sees none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from training.batches import Batches
from training.benchmark.neighbours import NeighbourScorer
from training.calibrate import calibrate_run
from training.fit import Trainer, fit
from training.fit_settings import recipe
from training.processes import scoring_device
from training.run_folder import RunFolder
from training.scorers import OnnxScorer, RunScorer

NewRun = Callable[..., RunFolder]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


@pytest.mark.parametrize(
    "settings",
    [{}, {"precision": "fp32"}, {"precision": "fp16"}, recipe("paper"), {"accumulate": 2}],
    ids=["duet", "fp32", "fp16", "paper", "two passes"],
)
def test_training_lowers_both_losses(tmp_path: Path, new_run: NewRun, settings: dict[str, Any]) -> None:
    trainer = Trainer(new_run(tmp_path, **{**settings, "steps": 60, "batch_size": 8}))
    assert trainer.device.type == "cuda"
    assert all(parameter.is_cuda for parameter in trainer.students.parameters())
    batches = Batches(trainer.run.training(), trainer.run.description().class_counts, trainer.settings)
    losses = [trainer.train_on(batches[step]) for step in range(60)]
    for branch in ("local", "semantic"):
        values = [step[branch] for step in losses]
        assert np.mean(values[-5:]) < 0.6 * np.mean(values[:5]), branch


@pytest.mark.parametrize("settings", [{}, recipe("paper")], ids=["duet", "paper"])
def test_an_interrupted_run_ends_like_an_unbroken_one(
    tmp_path: Path,
    new_run: NewRun,
    stopping_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
) -> None:
    """In float32; sums on a GPU have no fixed order, so not bit for bit."""
    settings = {**settings, "precision": "fp32"}
    unbroken, broken = new_run(tmp_path / "unbroken", **settings), new_run(tmp_path / "broken", **settings)
    assert fit(unbroken)
    stopping_after(5)
    assert not fit(broken)
    monkeypatch.undo()
    assert fit(broken)
    scores = []
    for run in (unbroken, broken):
        calibrate_run(run, alpha=0.1)
        scores.append(RunScorer(run).score(np.array(run.held_out())))
    for name, values in scores[0].items():
        np.testing.assert_allclose(scores[1][name], values, rtol=0.02, atol=0.02, err_msg=name)


def test_a_run_s_scores_there_are_those_of_its_file_on_the_cpu(finished_run: RunFolder, exported: Path) -> None:
    assert scoring_device().type == "cuda"
    pictures = np.array(finished_run.held_out())
    scorer = RunScorer(finished_run)
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    expected = dict(zip(names, session.run(names, {"image": pictures}), strict=True))
    for found in (scorer.score(pictures), OnnxScorer(exported).score(pictures)):
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-3, err_msg=name)


def test_neighbours_are_found_there(finished_run: RunFolder) -> None:
    """A training picture lies nearer to the training pictures than noise does."""
    scorer = NeighbourScorer(finished_run.trained()[0], finished_run.training(), 1, 0)
    seen = np.array(finished_run.training()[:2])
    noise = np.random.default_rng(0).integers(0, 256, seen.shape, dtype=np.uint8)
    assert (scorer.score(seen)["local_score"] < scorer.score(noise)["local_score"]).all()
