"""The card beside an exported model says what the file is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from service.model_format import Branch
from training.card import auroc_interval
from training.errors import TrainingError
from training.export import export_run, read_metrics
from training.run_folder import RunFolder


def test_it_states_the_facts_of_the_run(exported: Path, finished_run: RunFolder) -> None:
    card = (exported.parent / "README.md").read_text()
    description, outcome = finished_run.description(), finished_run.calibration()
    assert card.startswith("# Model card: stripes\n")
    for fact in (
        "stripes 24",
        description.training_data.fingerprint[:12],
        "12 good pictures that the training has not seen",
        f"joint probability {outcome.threshold:.4f}",
        "| image AUROC, joint | 90.00 |",
        "| false alarms, of 20 | 5.00 | 0.13 to 24.87 |",
        "| detected, of 12 | 75.00 |",
        "| steps | `40` |",
    ):
        assert fact in card


def test_every_picture_that_it_shows_is_there(exported: Path) -> None:
    card = (exported.parent / "README.md").read_text()
    shown = [line.split("](")[1].rstrip(")\n") for line in card.splitlines() if line.startswith("![")]
    assert shown == ["calibration.png", "sheet.png"]
    assert all((exported.parent / name).is_file() for name in shown)
    with Image.open(exported.parent / "calibration.png") as image:
        assert image.width > 400


def test_a_folder_that_is_no_report_is_refused_before_the_work(finished_run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"metrics\.json cannot be read as the figures of 'duet-train evaluate --report'"):
        export_run(finished_run, "stripes", tmp_path / "models", report=tmp_path)
    (tmp_path / "metrics.json").write_text('{"image_auroc/joint": "high"}')
    with pytest.raises(TrainingError, match=r"metrics\.json cannot be read"):
        read_metrics(tmp_path)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("branches", [("local", "semantic"), ("local",)])
def test_a_report_of_another_model_is_refused(finished_run: RunFolder, tmp_path: Path, branches: tuple[Branch, ...]) -> None:
    """A card must not tell the figures of another run, calibration or branch."""
    (tmp_path / "metrics.json").write_text('{"image_auroc/joint": 1.0, "threshold": 0.123}')
    with pytest.raises(TrainingError, match=r"(another model or calibration than|the branch 'local' alone)"):
        export_run(finished_run, "stripes", tmp_path / "models", branches, report=tmp_path)
    assert not (tmp_path / "models").exists()


def test_the_auroc_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    truth = 0.7602  # of normal scores one standard deviation apart
    covered = 0
    for _ in range(300):
        scores = np.concatenate((rng.normal(0, 1, 80), rng.normal(1, 1, 40)))
        low, high = auroc_interval(float(roc_auc_score([0] * 80 + [1] * 40, scores)), 40, 80)
        covered += low <= truth <= high
    assert 0.90 <= covered / 300 <= 0.99
    low, high = auroc_interval(1.0, 5, 20)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 5)), 1.0)
    assert auroc_interval(0.0, 5, 20) == (0.0, pytest.approx(1 - 0.025 ** (1 / 5)))
