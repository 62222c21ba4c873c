"""Calibration on few pictures: every score is that of students which never saw the picture."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from training.batches import Batch
from training.calibrate import calibrate_run
from training.data import Sample
from training.errors import TrainingError
from training.export import export_run
from training.fit import Trainer, fit
from training.fit_settings import FitSettings
from training.folds import fold_numbers, fold_runs
from training.good_scores import good_scores
from training.run_folder import RunFolder
from training.start import start_run

MakeSamples = Callable[[int, int], list[Sample]]


def settings(teacher: Path, folds: int = 3) -> FitSettings:
    return FitSettings(
        teacher=str(teacher), input_size=56, steps=3, batch_size=4, encoder_depth=3, taught_blocks=2, warmup_steps=1,
        folds=folds, alpha=0.2,
    )  # fmt: skip


def two_classes(good_samples: MakeSamples) -> list[Sample]:
    """Eleven pictures of "z" and seven of "a", in turns: neither in the order of the alphabet nor class after class."""
    pictures = good_samples(18, 41)
    return [Sample(s.name, s.source, 0, "z" if i % 18 in {0, 1, *range(9, 18)} else "a") for i, s in enumerate(pictures)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, teacher_folder: Path, good_samples: MakeSamples) -> RunFolder:
    run = start_run(tmp_path_factory.mktemp("runs") / "few", settings(teacher_folder), two_classes(good_samples), "folder")
    assert fit(run)
    calibrate_run(run, alpha=0.2)
    return run


def test_folds_part_all_pictures_and_each_class_evenly(run: RunFolder) -> None:
    description = run.description()
    assert (description.training_data.normal, description.class_counts) == (("z", "a"), (11, 7))
    numbers = fold_numbers(description)
    assert sorted(np.bincount(numbers[:11])) == [3, 4, 4]
    assert sorted(np.bincount(numbers[11:])) == [2, 2, 3]
    everything = sorted(picture.tobytes() for picture in run.training())
    held_out = sorted(picture.tobytes() for fold in fold_runs(run) for picture in fold.held_out())
    assert held_out == everything
    for fold in fold_runs(run):
        assert sorted(p.tobytes() for p in (*fold.training(), *fold.held_out())) == everything
        assert sum(fold.description().class_counts) == len(fold.training()) == fold.description().training_data.images


def test_every_picture_is_scored_by_students_that_never_saw_it(run: RunFolder) -> None:
    scores = good_scores(run)
    assert scores.local is not None
    assert scores.semantic is not None
    numbers, folds = fold_numbers(run.description()), fold_runs(run)
    for index in (0, 5, 10, 11, 17):
        picture = torch.from_numpy(run.training()[index : index + 1].copy())
        with torch.inference_mode():
            raw = folds[numbers[index]].raw_graph()(picture)
        assert raw.local is not None
        assert raw.semantic is not None
        assert scores.local[index] == pytest.approx(raw.local.item(), rel=1e-3)
        assert scores.semantic[index] == pytest.approx(raw.semantic.item(), rel=1e-3)
    assert run.calibration().calibration.images == 18


def test_such_a_run_is_exported_whole_and_by_branch(run: RunFolder, tmp_path: Path) -> None:
    assert export_run(run, "few", tmp_path).is_file()
    assert export_run(run, "few", tmp_path, ("local",)).is_file()


def test_a_run_stopped_in_a_fold_goes_on_there(
    tmp_path: Path, teacher_folder: Path, good_samples: MakeSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start_run(tmp_path / "run", settings(teacher_folder, folds=2), good_samples(6, 42), "folder")
    train_on, steps = Trainer.train_on, 0

    def stopped(self: Trainer, batch: Batch) -> dict[str, float]:
        nonlocal steps
        steps += 1
        if steps == 4:  # the first of the first fold
            signal.raise_signal(signal.SIGINT)
        return train_on(self, batch)

    monkeypatch.setattr(Trainer, "train_on", stopped)
    assert not fit(run)
    with pytest.raises(TrainingError, match="stands at step 1 of 3"):
        good_scores(run)
    assert fit(run)
    assert steps == 9
    assert good_scores(run).local is not None


def test_too_few_pictures_and_a_single_fold_are_refused(
    tmp_path: Path, teacher_folder: Path, good_samples: MakeSamples
) -> None:
    with pytest.raises(TrainingError, match="5 folds need as many good pictures of each class, and one has 4"):
        start_run(tmp_path / "run", settings(teacher_folder, folds=5), good_samples(4, 0), "folder")
    with pytest.raises(ValidationError, match="one fold leaves nothing to train on"):
        settings(teacher_folder, folds=1)
