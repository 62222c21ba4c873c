"""What an evaluation leaves on disk."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.evaluate import Evaluation
from training.report import write_report
from training.run_folder import RunFolder
from training.scorers import RunScorer


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, run_evaluation: Evaluation, finished_run: RunFolder) -> Path:
    folder = tmp_path_factory.mktemp("report") / "new"
    write_report(folder, run_evaluation, RunScorer(finished_run))
    return folder


def test_it_holds_figures_and_pictures(report: Path) -> None:
    names = ["curves.png", "false_alarms.csv", "metrics.json", "scores.csv", "sheet.png"]
    assert sorted(path.name for path in report.iterdir()) == names


def test_false_alarms_are_listed_for_what_twelve_held_out_pictures_can_show(report: Path) -> None:
    with (report / "false_alarms.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["alpha"], row["images"]) == ("0.1", "20")
    assert float(row["low"]) <= int(row["found"]) / 20 <= float(row["high"])


def test_metrics_json_holds_the_metrics(report: Path, run_evaluation: Evaluation) -> None:
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics == run_evaluation.metrics
    assert all(type(value) is float for value in metrics.values())


def test_scores_csv_holds_every_score_exactly(report: Path, run_evaluation: Evaluation) -> None:
    with (report / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(run_evaluation.samples)
    assert list(rows[0]) == [
        "name", "category", "defect", "label", "local_score", "semantic_score", "joint_score", "local_probability",
        "semantic_probability", "joint_probability", "anomalous",
    ]  # fmt: skip
    for index, (row, sample) in enumerate(zip(rows, run_evaluation.samples, strict=True)):
        assert (row["name"], row["category"], row["defect"]) == (sample.name, sample.category, sample.defect or "")
        assert (int(row["label"]), int(row["anomalous"])) == (sample.label, run_evaluation.anomalous[index])
        for tensor, values in run_evaluation.outputs.items():
            assert np.float32(row[tensor]) == values[index]


def test_a_name_that_is_no_text_is_spelled_out(tmp_path: Path, run_evaluation: Evaluation, finished_run: RunFolder) -> None:
    first = replace(run_evaluation.samples[0], name=os.fsdecode(b"Pr\xfcfung.png"))
    evaluation = replace(run_evaluation, samples=[first, *run_evaluation.samples[1:]])
    write_report(tmp_path, evaluation, RunScorer(finished_run))
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as stream:
        assert next(csv.DictReader(stream))["name"] == r"Pr\udcfcfung.png"


def test_the_sheet_shows_a_row_for_each_kind_of_picture(report: Path, run_evaluation: Evaluation) -> None:
    with Image.open(report / "sheet.png") as sheet:
        sheet.load()
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    rows = 2 + len({sample.defect for sample in run_evaluation.samples if sample.label})
    assert pixels.shape[0] == pytest.approx(1.95 * rows * 110, abs=2)
    assert pixels.shape[1] > pixels.shape[0]
    for band in np.array_split(pixels, rows):  # each shows pictures in colour, not paper alone
        assert (np.ptp(band, axis=2) > 30).mean() > 0.05


def test_a_report_replaces_an_older_one(
    report: Path, run_evaluation: Evaluation, finished_run: RunFolder, tmp_path: Path
) -> None:
    (tmp_path / "metrics.json").write_text("old")
    write_report(tmp_path, run_evaluation, RunScorer(finished_run))
    for name in ("metrics.json", "scores.csv"):
        assert (tmp_path / name).read_bytes() == (report / name).read_bytes()
