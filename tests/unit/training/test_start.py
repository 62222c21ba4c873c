"""The start of a run on a data set with faults in it."""

from __future__ import annotations

import csv
import logging
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from training.cli import app
from training.data import ANOMALOUS, DataError, Sample, digest, load_samples
from training.errors import TrainingError
from training.fit_settings import FitSettings
from training.run_folder import RunFolder
from training.start import start_run

MakeSamples = Callable[[int, int], list[Sample]]


@pytest.fixture
def folder(tmp_path: Path, good_samples: MakeSamples) -> Path:
    """Twelve good pictures, and two files that are none: one empty, one cut short."""
    root = tmp_path / "line"
    root.mkdir()
    for index, sample in enumerate(good_samples(12, 31)):
        Image.fromarray(sample.pixels()).save(root / f"{index:02d}.png")
    (root / "empty.png").write_bytes(b"")
    (root / "short.png").write_bytes((root / "00.png").read_bytes()[:200])
    return root


def settings(teacher: Path) -> FitSettings:
    return FitSettings(teacher=str(teacher), input_size=56, steps=2, batch_size=2, encoder_depth=4, alpha=0.5)


def test_anomalous_pictures_are_not_learned_as_good(good_samples: MakeSamples, teacher_folder: Path, tmp_path: Path) -> None:
    """Some data sets list them in their training split."""
    samples = good_samples(12, 31)
    samples[3] = replace(samples[3], label=ANOMALOUS)
    with pytest.raises(TrainingError, match=f"1 of the pictures to train on are anomalous, such as {samples[3].name}"):
        start_run(tmp_path / "run", settings(teacher_folder), samples, "visa")


def test_all_unreadable_pictures_are_named_at_once(folder: Path, teacher_folder: Path, tmp_path: Path) -> None:
    samples = load_samples("folder", folder, "train")
    with pytest.raises(
        DataError, match=r"2 of 14 pictures cannot be read; mend or remove them, or go on .* --skip-unreadable"
    ) as e:
        start_run(tmp_path / "run", settings(teacher_folder), samples, "folder")
    assert f"{folder / 'empty.png'} cannot be decoded" in str(e.value)
    assert f"{folder / 'short.png'} cannot be decoded" in str(e.value)
    assert not (tmp_path / "run/run.json").exists()


def test_they_can_be_skipped_and_are_named_then_too(
    folder: Path, teacher_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    samples = load_samples("folder", folder, "train")
    with caplog.at_level(logging.WARNING, "training"):
        run = start_run(tmp_path / "run", settings(teacher_folder), samples, "folder", skip_unreadable=True)
    assert len(run.training()) + len(run.held_out()) == 12
    assert run.description().training_data.images == len(run.training())
    assert "2 of 14 pictures are skipped" in caplog.text
    assert "short.png" in caplog.text


def test_both_commands_take_the_option(folder: Path, good_samples: MakeSamples, teacher_folder: Path, tmp_path: Path) -> None:
    for part, seed in (("good", 32), ("bad", 33)):
        shutil.copytree(folder, tmp_path / "test" / part)
        for index, sample in enumerate(good_samples(12, seed)):
            Image.fromarray(sample.pixels()).save(tmp_path / f"test/{part}/{index:02d}.png")
    run = tmp_path / "run"
    command = [
        "fit", "--data", str(folder), "--layout", "folder", "--teacher", str(teacher_folder), "--input-size", "56",
        "--steps", "2", "--batch-size", "2", "--encoder-depth", "4", "--output", str(run),
    ]  # fmt: skip
    result = CliRunner().invoke(app, command)
    assert "--skip-unreadable" in str(result.exception)
    result = CliRunner().invoke(app, [*command, "--skip-unreadable"])
    assert result.exit_code == 0, result.output
    assert RunFolder(run).calibration().calibration.images == 1
    command = ["evaluate", str(run), "--data", str(tmp_path / "test"), "--layout", "folder", "--normal", "test"]
    assert "4 of 28 pictures cannot be read" in str(CliRunner().invoke(app, command).exception)
    result = CliRunner().invoke(app, [*command, "--skip-unreadable"])
    assert "12 good, 12 anomalous" in result.output


def test_twelve_bits_in_a_file_of_sixteen_are_noticed(
    teacher_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such a camera's pictures would train without a complaint, and in the dark."""
    line = tmp_path / "line"
    line.mkdir()
    for index in range(12):
        grey = np.random.default_rng(index).integers(0, 4096, (600, 600), dtype=np.uint16)
        Image.fromarray(grey << 4 if index < 3 else grey).save(line / f"{index:02d}.png")
    with caplog.at_level(logging.WARNING, "training"):
        start_run(tmp_path / "run", settings(teacher_folder), load_samples("folder", line, "train"), "folder")
    assert "pictures are nearly black, such as line/" in caplog.text
    assert "10 or 12 bits have to be shifted up" in caplog.text


def test_the_run_records_which_pictures_went_where(good_samples: MakeSamples, teacher_folder: Path, tmp_path: Path) -> None:
    samples = good_samples(12, 31)
    run = start_run(tmp_path / "run", settings(teacher_folder), samples, "folder")
    with run.seen_file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(row["name"] for row in rows) == sorted(sample.name for sample in samples)
    assert Counter(row["part"] for row in rows) == {"training": len(run.training()), "held out": len(run.held_out())}
    assert {row["sha256"] for row in rows} == {digest(sample) for sample in samples}
