"""Metrics of a run and of its exported file on the same labelled pictures."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from rich.console import Console

from service.images import resize_square
from service.model_format import score_threshold
from training.data import Sample
from training.errors import TrainingError
from training.evaluate import Evaluation, evaluate
from training.measures import metrics_table
from training.metrics import aupro, pixel_auroc, pixel_average_precision, pixel_f1_max
from training.run_folder import RunFolder
from training.scorers import OnnxScorer, RunScorer, open_scorer

Pixels = npt.NDArray[np.uint8]


def auroc(scores: npt.NDArray[np.float32], anomalous: npt.NDArray[np.bool_]) -> float:
    """Share of pairs of a good and an anomalous picture that are ranked rightly."""
    pairs = scores[anomalous][:, None].astype(np.float64) - scores[~anomalous][None, :]
    return float(np.mean((pairs > 0) + 0.5 * (pairs == 0)))


def test_run_and_exported_file_score_alike(run_evaluation: Evaluation, onnx_evaluation: Evaluation) -> None:
    assert run_evaluation.outputs.keys() == onnx_evaluation.outputs.keys()
    for name, values in run_evaluation.outputs.items():
        np.testing.assert_allclose(values, onnx_evaluation.outputs[name], rtol=1e-3, atol=1e-4, err_msg=name)
    assert run_evaluation.maps.keys() == onnx_evaluation.maps.keys()
    for index, anomaly_map in run_evaluation.maps.items():
        np.testing.assert_allclose(anomaly_map, onnx_evaluation.maps[index], rtol=1e-3, atol=1e-5)
    assert run_evaluation.metrics == pytest.approx(onnx_evaluation.metrics, abs=1e-3)


def test_image_metrics_rank_the_raw_scores(run_evaluation: Evaluation, labelled_samples: Sequence[Sample]) -> None:
    anomalous = np.array([sample.label == 1 for sample in labelled_samples])
    for branch in ("local", "semantic", "joint"):
        expected = auroc(run_evaluation.outputs[f"{branch}_score"], anomalous)
        assert run_evaluation.metrics[f"image_auroc/{branch}"] == pytest.approx(expected, abs=1e-9)
        assert 0 < run_evaluation.metrics[f"image_ap/{branch}"] <= 1
        assert 0 < run_evaluation.metrics[f"image_f1_max/{branch}"] <= 1
    assert run_evaluation.metrics["image_auroc/joint"] > 0.9  # noise and a blot among stripes


def test_scores_come_in_the_order_of_the_samples(
    finished_run: RunFolder, run_evaluation: Evaluation, labelled_samples: Sequence[Sample]
) -> None:
    scorer = RunScorer(finished_run)
    for index in (0, 17, len(labelled_samples) - 1):
        alone = scorer.score(resize_square(labelled_samples[index].pixels(), 56)[None])
        for name, values in run_evaluation.outputs.items():
            assert values[index] == pytest.approx(alone[name][0], rel=1e-4, abs=1e-6)


def test_verdicts_are_made_at_the_model_s_threshold(
    run_evaluation: Evaluation, finished_run: RunFolder, labelled_samples: Sequence[Sample]
) -> None:
    verdicts = run_evaluation.outputs["joint_score"] >= score_threshold(finished_run.calibration().threshold)
    assert run_evaluation.anomalous.tolist() == verdicts.tolist()
    good = np.array([sample.label == 0 for sample in labelled_samples])
    assert run_evaluation.metrics["false_alarm_rate"] == verdicts[good].mean()
    assert run_evaluation.metrics["detection_rate"] == verdicts[~good].mean()
    assert (run_evaluation.metrics["good_images"], run_evaluation.metrics["anomalous_images"]) == (good.sum(), (~good).sum())


def test_pixel_metrics_use_the_pictures_whose_mask_is_known(
    run_evaluation: Evaluation, labelled_samples: Sequence[Sample]
) -> None:
    known = [index for index, sample in enumerate(labelled_samples) if sample.label == 0 or sample.masks]
    assert 0 < len(known) < len(labelled_samples)
    assert sorted(run_evaluation.maps) == known
    maps = np.stack([run_evaluation.maps[index] for index in known])
    masks = np.stack([labelled_samples[index].mask(256) for index in known])
    assert run_evaluation.metrics["pixel_auroc/local"] == pytest.approx(pixel_auroc(maps, masks))
    assert run_evaluation.metrics["pixel_auroc/local"] > 0.7
    assert run_evaluation.metrics["aupro/local"] == pytest.approx(aupro(maps, masks))
    assert run_evaluation.metrics["aupro_0.05/local"] == pytest.approx(aupro(maps, masks, 0.05))
    assert run_evaluation.metrics["pixel_ap/local"] == pytest.approx(pixel_average_precision(maps, masks))
    assert run_evaluation.metrics["pixel_f1_max/local"] == pytest.approx(pixel_f1_max(maps, masks))


def test_without_masks_there_are_no_pixel_metrics(finished_run: RunFolder, labelled_samples: Sequence[Sample]) -> None:
    unmasked = [Sample(s.name, s.source, s.label, s.category, s.defect) for s in labelled_samples]
    evaluation = evaluate(RunScorer(finished_run), unmasked)
    assert not evaluation.maps
    assert not [name for name in evaluation.metrics if name.startswith(("pixel", "aupro"))]


def test_several_categories_are_measured_each_and_together(finished_run: RunFolder, labelled_samples: Sequence[Sample]) -> None:
    halves = [Sample(s.name, s.source, s.label, "ab"[i % 2], s.defect, s.masks) for i, s in enumerate(labelled_samples)]
    evaluation = evaluate(RunScorer(finished_run), halves)
    anomalous = np.array([sample.label == 1 for sample in halves])
    for branch in ("local", "semantic", "joint"):
        scores = evaluation.outputs[f"{branch}_score"]
        of_each = [auroc(scores[start::2], anomalous[start::2]) for start in range(2)]
        assert [evaluation.metrics[f"image_auroc/{branch}/{name}"] for name in "ab"] == pytest.approx(of_each)
        assert evaluation.metrics[f"image_auroc_mean/{branch}"] == pytest.approx(np.mean(of_each))
        assert evaluation.metrics[f"image_auroc/{branch}"] == pytest.approx(auroc(scores, anomalous))
    for metric in ("image_ap/joint", "pixel_auroc/local", "aupro/local"):
        kind, branch = metric.split("/")
        of_each = [evaluation.metrics[f"{metric}/{name}"] for name in "ab"]
        assert evaluation.metrics[f"{kind}_mean/{branch}"] == pytest.approx(np.mean(of_each))


@pytest.mark.parametrize("label", [0, 1])
def test_one_kind_of_picture_cannot_be_evaluated(
    finished_run: RunFolder, labelled_samples: Sequence[Sample], label: int
) -> None:
    with pytest.raises(TrainingError, match=r"both kinds are needed \(is --normal right\?\)"):
        evaluate(RunScorer(finished_run), [sample for sample in labelled_samples if sample.label == label])


def test_the_table_shows_every_metric_in_per_cent(run_evaluation: Evaluation) -> None:
    text = StringIO()
    Console(file=text, width=120).print(metrics_table(run_evaluation.metrics))
    for name in ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "aupro", "false alarm rate", "detection rate"):
        assert name in text.getvalue()
    for branch in ("local", "semantic", "joint"):
        assert f"{100 * run_evaluation.metrics[f'image_auroc/{branch}']:.2f}" in text.getvalue()
    assert "20 good, 12 anomalous" in text.getvalue()


def test_scorers_know_what_the_model_was_made_for(finished_run: RunFolder, exported: Path) -> None:
    run, file = open_scorer(finished_run.path), open_scorer(exported)
    assert isinstance(run, RunScorer)
    assert isinstance(file, OnnxScorer)
    assert (run.input_shape, run.normal, run.calibration, run.threshold) == (
        file.input_shape, file.normal, file.calibration, file.threshold,
    )  # fmt: skip
    assert (file.input_shape, file.normal) == ((56, 56), ("stripes",))


def test_anything_else_is_no_model(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    for path in (tmp_path / "picture.png", tmp_path / "missing.onnx"):
        with pytest.raises(TrainingError, match=r"is neither a run's folder nor a model\.onnx"):
            open_scorer(path)
    with pytest.raises(TrainingError, match=r"run\.json does not exist"):
        open_scorer(tmp_path)
    (tmp_path / "garbage.onnx").write_bytes(b"no graph at all")
    with pytest.raises(TrainingError, match=r"garbage\.onnx cannot be loaded"):
        open_scorer(tmp_path / "garbage.onnx")


def test_a_disk_without_room_for_the_maps_is_told_of(
    finished_run: RunFolder, labelled_samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(TrainingError, match=r"no room for 0\.0 GB of anomaly maps \(No space left on device\): let TMPDIR"):
        evaluate(RunScorer(finished_run), labelled_samples)
