"""What a run's folder holds, and what is said where it does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import Dinov2WithRegistersModel

from service.images import resize_square
from service.model_format import TrainingData
from training.calibrate import calibrate_run
from training.data import Sample
from training.errors import TrainingError
from training.fit import prepare_run
from training.fit_settings import FitSettings
from training.run_folder import RunFolder, new_networks

NewRun = Callable[..., RunFolder]


def test_pictures_are_stored_as_the_service_would_see_them(
    tmp_path: Path, new_run: NewRun, good_samples: Callable[[int, int], list[Sample]]
) -> None:
    run = new_run(tmp_path)
    for stored, samples in ((run.training(), good_samples(24, 1)), (run.held_out(), good_samples(12, 2))):
        assert stored.dtype == np.uint8
        np.testing.assert_array_equal(stored, np.stack([resize_square(sample.pixels(), 56) for sample in samples]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["held_out.npy", "pictures.csv", "run.json", "training.npy"]


def test_an_unfinished_run_says_so(tmp_path: Path, new_run: NewRun) -> None:
    run = new_run(tmp_path)
    with pytest.raises(TrainingError, match=r"checkpoint\.pt is missing: the run was stopped early; go on with 'fit --resume'"):
        run.raw_graph()
    with pytest.raises(TrainingError, match=r"calibration\.json does not exist: finish the run, or 'duet-train calibrate"):
        run.calibration()
    with pytest.raises(TrainingError, match=r"checkpoint\.pt is missing"):
        calibrate_run(run)


def test_a_folder_that_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"run\.json does not exist: start one with 'duet-train fit'"):
        RunFolder(tmp_path).description()
    with pytest.raises(TrainingError, match=r"training\.npy is missing: the run is not complete"):
        RunFolder(tmp_path).training()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"settings": {}}'])
def test_a_damaged_description_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(TrainingError, match=r"run\.json is damaged or from another version"):
        RunFolder(tmp_path).description()


def test_a_misspelt_setting_is_refused(tmp_path: Path, new_run: NewRun) -> None:
    run = new_run(tmp_path)
    description = json.loads(run.description_file.read_text())
    description["settings"]["batchsize"] = 3
    run.description_file.write_text(json.dumps(description))
    with pytest.raises(TrainingError, match=r"settings\.batchsize"):
        run.description()
    with pytest.raises(ValidationError, match="multiple of 14"):
        FitSettings(input_size=100)


def test_another_teacher_under_the_same_name_is_noticed(
    tmp_path: Path, finished_run: RunFolder, copy_run: Callable[[RunFolder], RunFolder]
) -> None:
    run = copy_run(finished_run)
    settings = run.description().settings
    other = shutil.copytree(settings.teacher, tmp_path / "teacher")
    vit = Dinov2WithRegistersModel.from_pretrained(other)
    with torch.no_grad():
        vit.embeddings.cls_token.add_(0.01)
    vit.save_pretrained(other)
    description = json.loads(run.description_file.read_text())
    description["settings"]["teacher"] = str(other)
    run.description_file.write_text(json.dumps(description))
    with pytest.raises(TrainingError, match=r"is no longer the one that .* was trained with"):
        run.raw_graph()


def test_more_taught_blocks_than_the_student_has_are_refused(teacher_folder: Path) -> None:
    settings = FitSettings(teacher=str(teacher_folder), input_size=56)  # half of four blocks, four of them to be taught
    with pytest.raises(TrainingError, match="taught_blocks is 4, but the encoder student has 2 blocks"):
        new_networks(settings)


def test_a_refused_setting_leaves_no_run(tmp_path: Path, new_run: NewRun) -> None:
    with pytest.raises(TrainingError, match="taught_blocks"):
        new_run(tmp_path / "run", encoder_depth=1)
    assert not (tmp_path / "run").exists()


def test_an_unreadable_picture_leaves_no_run(
    tmp_path: Path, teacher_folder: Path, good_samples: Callable[[int, int], list[Sample]]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    samples = [*good_samples(3, 0), Sample("broken", tmp_path / "broken.png", 0, "stripes")]
    settings = FitSettings(teacher=str(teacher_folder), input_size=56, encoder_depth=4)
    facts = TrainingData(layout="folder", normal=("stripes",), images=4, fingerprint="0" * 64)
    with pytest.raises(TrainingError, match=r"broken\.png cannot be decoded"):
        prepare_run(tmp_path / "run", settings, samples, good_samples(2, 0), facts)
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
