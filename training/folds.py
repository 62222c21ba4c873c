"""Calibration on few pictures (ours): every one is scored by students that were not taught with it, so none is set apart.

With 20 good pictures a tenth set apart is two, which say nothing of a threshold. Instead each fold of the pictures gets
students taught with the others alone, and all 20 scores calibrate the students that were taught with all (cross-fitting).
Those know a little more than the folds' students, so the threshold errs towards fewer false alarms. Each fold costs a training.
"""

from __future__ import annotations

import shutil

import numpy as np
import numpy.typing as npt

from service.model_format import TrainingData

from .files import write_text
from .run_folder import RunDescription, RunFolder, store_pictures


def fold_runs(run: RunFolder) -> list[RunFolder]:
    """The runs of all folds, made where they are not there yet; none of a run that sets pictures apart."""
    description = run.description()
    folds = [RunFolder(run.path / "folds" / str(number)) for number in range(description.settings.folds)]
    for number, fold in enumerate(folds):
        if not fold.description_file.exists():
            _prepare(fold, run, fold_numbers(description), number, description)
    return folds


def fold_numbers(description: RunDescription) -> npt.NDArray[np.int64]:
    """The fold of each picture of training.npy [M]; each class is spread evenly over the folds."""
    rng = np.random.default_rng([description.settings.seed, description.settings.folds])
    parts = [rng.permutation(np.arange(count) % description.settings.folds) for count in description.class_counts]
    return np.concatenate(parts)


def _prepare(fold: RunFolder, run: RunFolder, numbers: npt.NDArray[np.int64], number: int, whole: RunDescription) -> None:
    fold.path.mkdir(parents=True, exist_ok=True)
    pictures = run.training()
    for file, chosen in ((fold.training_file, numbers != number), (fold.held_out_file, numbers == number)):
        indices = np.flatnonzero(chosen)
        store_pictures((pictures[index] for index in indices), (len(indices), *pictures.shape[1:]), file)
    if whole.training_data.defects:
        shutil.copyfile(run.defects_file, fold.defects_file)
        shutil.copyfile(run.masks_file, fold.masks_file)
    owners = np.repeat(np.arange(len(whole.class_counts)), whole.class_counts)
    counts = np.bincount(owners[numbers != number], minlength=len(whole.class_counts))
    data: TrainingData = whole.training_data.model_copy(update={"images": int(counts.sum())})
    settings = whole.settings.model_copy(update={"folds": 0})
    description = whole.model_copy(update={"settings": settings, "training_data": data, "class_counts": tuple(counts.tolist())})
    write_text(fold.description_file, description.model_dump_json(indent=2))
