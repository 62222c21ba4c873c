"""The start of a run: good pictures in, a run's folder out, with calibration's share set apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from service.model_format import TrainingData

from .calibrate import images_needed
from .data import GOOD, Sample, fingerprint, split_held_out
from .data.readable import naming_all_unreadable, readable
from .errors import TrainingError
from .fit import prepare_run
from .fit_settings import FitSettings
from .run_folder import RunFolder

LARGEST_HELD_OUT_SHARE = 0.2  # set apart without being asked to, where alpha needs more pictures than held_out_share gives


def start_run(
    path: Path,
    settings: FitSettings,
    samples: Sequence[Sample],
    layout: str,
    *,
    defects: Sequence[Sample] = (),
    skip_unreadable: bool = False,
) -> RunFolder:
    """Set pictures apart for calibration, and store them and the rest in a new run's folder at the input size.

    `defects` are labelled ones, to learn from beside the good `samples`.

    Raises TrainingError for a folder that holds a run, too few pictures, anomalous ones among `samples`, and pictures that
    cannot be read, all of them named.
    """
    if anomalous := [sample.name for sample in samples if sample.label != GOOD]:
        raise TrainingError(
            f"{len(anomalous)} of the pictures to train on are anomalous, such as {anomalous[0]}: take them out of that split"
        )
    if skip_unreadable:
        samples, defects = readable(samples, skip=True), readable(defects, skip=True)
    classes = tuple(dict.fromkeys(sample.category for sample in samples))
    training, held_out = _split(samples, classes, settings)
    with naming_all_unreadable([*samples, *defects]):
        data = TrainingData(
            layout=layout, normal=classes, images=len(training), defects=len(defects),
            fingerprint=fingerprint([*training, *defects]),
        )  # fmt: skip
        return prepare_run(path, settings, training, held_out, data, defects)


def _split(
    samples: Sequence[Sample], classes: Sequence[str], settings: FitSettings
) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """(training, held out), apart from each other; a cross-fitted calibration holds out all, in the order of training.npy."""
    if settings.folds:
        fewest = min(Counter(sample.category for sample in samples).values())
        if fewest < settings.folds:
            raise TrainingError(f"{settings.folds} folds need as many good pictures of each class, and one has {fewest}")
        ordered = sorted(samples, key=lambda sample: classes.index(sample.category))
        return ordered, ordered
    needed = images_needed(settings.alpha)
    affordable = needed <= LARGEST_HELD_OUT_SHARE * len(samples)
    return split_held_out(samples, settings.held_out_share, settings.seed, minimum=needed if affordable else 1)
