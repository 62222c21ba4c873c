"""A model file that moves to another line: brighter pictures, the same students."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner

from service.images import resize_square
from service.model_format import ModelMetadata, parse_metadata
from training.calibrate import calibrate_run, expected_false_alarms, upper_quantile
from training.cli import app
from training.data import Sample
from training.errors import TrainingError
from training.recalibrate import recalibrate, recalibrate_run
from training.run_folder import RunFolder
from training.scorers import OnnxScorer
from training.seen_pictures import read_seen, refuse_seen

MakeSamples = Callable[[int, int], list[Sample]]


@pytest.fixture
def file(exported: Path, tmp_path: Path) -> Path:
    """models/stripes/1/model.onnx, in a repository that a test may change."""
    shutil.copytree(exported.parents[2], tmp_path / "models")
    return tmp_path / "models/stripes/1/model.onnx"


def dimmed(samples: list[Sample]) -> list[Sample]:
    """Pictures of a darker line: scores of their good parts are higher."""
    return [Sample(s.name, (s.pixels() * 0.6).astype(np.uint8), s.label, s.category) for s in samples]


def metadata(file: Path) -> ModelMetadata:
    return parse_metadata({p.key: p.value for p in onnx.load(file).metadata_props}, file)


def outputs(file: Path, samples: list[Sample]) -> dict[str, np.ndarray]:
    return dict(OnnxScorer(file).score(np.stack([resize_square(s.pixels(), 56) for s in samples])))


def test_the_next_version_keeps_its_promise_on_the_new_line(file: Path, good_samples: MakeSamples) -> None:
    before = file.read_bytes()
    line = dimmed(good_samples(60, 21))
    new, outcome = recalibrate(file, line, alpha=0.1)
    assert new == file.parents[1] / "2/model.onnx"
    assert file.read_bytes() == before
    found = outputs(new, line)
    assert outcome.calibration.local is not None
    assert outcome.calibration.local.tau == pytest.approx(upper_quantile(found["local_score"], 0.1))
    unseen = outputs(new, dimmed(good_samples(200, 22)))["joint_probability"] >= outcome.threshold
    old = outputs(file, dimmed(good_samples(200, 22)))["joint_probability"] >= metadata(file).threshold
    low, high = expected_false_alarms(60, 0.1)
    assert low / 2 <= unseen.mean() <= 1.5 * high
    assert old.mean() > 2 * unseen.mean()  # which is why it was calibrated anew


def test_raw_scores_stay_and_probabilities_follow_the_new_metadata(file: Path, good_samples: MakeSamples) -> None:
    new, outcome = recalibrate(file, dimmed(good_samples(30, 23)), alpha=0.05)
    samples = good_samples(4, 24)
    first, second = outputs(file, samples), outputs(new, samples)
    for name in ("local_score", "semantic_score", "anomaly_map"):
        assert np.array_equal(first[name], second[name])
    for branch, sigmoid in (("local", outcome.calibration.local), ("semantic", outcome.calibration.semantic)):
        assert sigmoid is not None
        expected = 1 / (1 + np.exp(-(second[f"{branch}_score"].astype(float) - sigmoid.tau) / sigmoid.sigma))
        assert second[f"{branch}_probability"] == pytest.approx(expected, rel=1e-4)
    described = metadata(new)
    assert (described.calibration, described.threshold, described.alpha) == (outcome.calibration, outcome.threshold, 0.05)
    assert described.metrics == {}  # they were measured at another threshold
    assert described.training_data == metadata(file).training_data


def test_it_is_typed_as_the_help_says(file: Path, good_samples: MakeSamples, tmp_path: Path) -> None:
    (tmp_path / "line").mkdir()
    for index, sample in enumerate(dimmed(good_samples(20, 25))):
        Image.fromarray(sample.pixels()).save(tmp_path / f"line/{index}.png")
    for folder in ("stripes", "others"):  # of which the model knows the first
        shutil.copytree(tmp_path / "line", tmp_path / "lines" / folder)
    command = ["calibrate", str(file), "--data", str(tmp_path / "lines"), "--layout", "folder", "--alpha", "0.05"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "stripes/2/model.onnx" in result.output
    assert "from 20 good pictures: expect 0.13 to 17 % false alarms" in result.output
    result = CliRunner().invoke(app, command[:2])
    assert "name good pictures of the line with --data and --layout" in str(result.exception)


def test_files_that_cannot_be_calibrated_are_refused(file: Path, good_samples: MakeSamples, tmp_path: Path) -> None:
    moved = Path(shutil.copy(file, tmp_path / "model.onnx"))
    with pytest.raises(TrainingError, match=r"does not lie in a model repository: expected MODELS/stripes/VERSION/model\.onnx"):
        recalibrate(moved, good_samples(4, 0), alpha=0.1)
    with pytest.raises(TrainingError, match="none of 0 pictures is good: name a folder"):
        recalibrate(file, [], alpha=0.1)
    model = onnx.load(file)
    for tensor in model.graph.initializer:
        if tensor.name == "logits.local.tau":
            tensor.name = "val_1"
    for node in model.graph.node:
        node.input[:] = ["val_1" if name == "logits.local.tau" else name for name in node.input]
    onnx.save(model, file)
    with pytest.raises(TrainingError, match=r"no constant 'logits\.local\.tau': it is too old; export its run anew"):
        recalibrate(file, good_samples(4, 0), alpha=0.1)
    assert not (file.parents[1] / "2").exists()


def test_the_next_version_has_a_card_of_its_own(file: Path, good_samples: MakeSamples) -> None:
    new, outcome = recalibrate(file, dimmed(good_samples(30, 23)), alpha=0.05)
    card = (new.parent / "README.md").read_text()
    for fact in (
        "30 good pictures by `duet-train calibrate` of version 1, whose networks it has",
        f"joint probability {outcome.threshold:.4f}, for a share of 0.05",
        "Nothing yet: `duet-train evaluate`",
        "Those of version 1: see its card.",
    ):
        assert fact in card
    assert "AUROC" not in card  # those figures were another calibration's
    with Image.open(new.parent / "calibration.png") as image:
        assert image.width > 400


def test_pictures_that_it_has_learned_do_not_calibrate_it(file: Path, good_samples: MakeSamples) -> None:
    with pytest.raises(TrainingError, match=r"the run was made with 24 of the 24 good pictures, such as 1/0 \(training\)"):
        recalibrate(file, good_samples(24, 1))
    new, _ = recalibrate(file, good_samples(12, 2), alpha=0.2)  # held out before
    assert (new.parent / "pictures.csv").read_bytes() == (file.parent / "pictures.csv").read_bytes()
    newer, _ = recalibrate(file, good_samples(30, 3), alpha=0.2)
    seen = read_seen(newer.parent / "pictures.csv")
    assert Counter(seen.values()) == {"training": 24, "held out": 30}
    with pytest.raises(TrainingError, match="the run was made with 30 of the 30 good pictures"):
        refuse_seen(seen, good_samples(30, 3))


@pytest.fixture
def run(finished_run: RunFolder, tmp_path: Path) -> RunFolder:
    """A run that a test may change."""
    return RunFolder(Path(shutil.copytree(finished_run.path, tmp_path / "run")))


def test_a_run_takes_another_line_s_pictures_for_its_held_out_ones(run: RunFolder, good_samples: MakeSamples) -> None:
    before, line = run.calibration(), dimmed(good_samples(30, 21))
    outcome = recalibrate_run(run, line)
    assert run.calibration() == outcome
    assert (outcome.alpha, outcome.calibration.images) == (before.alpha, 30)
    assert np.array_equal(run.held_out(), np.stack([resize_square(sample.pixels(), 56) for sample in line]))
    assert calibrate_run(run) == outcome
    kept = run.seen_file.read_text().splitlines()
    assert [row.split(",")[1] for row in kept] == ["part", *["training"] * 24, *["held out"] * 30]
    with pytest.raises(TrainingError, match=r"made with 24 of the 24 good pictures, such as 1/0 \(training\)"):
        recalibrate_run(run, good_samples(24, 1))


@pytest.mark.parametrize(("count", "alpha", "message"), [(0, 0.1, "none of 0 pictures"), (4, 1.0, "alpha is 1.0")])
def test_a_run_that_is_not_calibrated_stays_as_it_was(
    run: RunFolder, good_samples: MakeSamples, count: int, alpha: float, message: str
) -> None:
    before = {path: path.read_bytes() for path in sorted(run.path.rglob("*")) if path.is_file()}
    with pytest.raises(TrainingError, match=message):
        recalibrate_run(run, good_samples(count, 21), alpha)
    assert {path: path.read_bytes() for path in sorted(run.path.rglob("*")) if path.is_file()} == before
