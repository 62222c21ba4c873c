"""Good pictures set apart before training, for calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .errors import DataError
from .sample import GOOD, Sample


def split_held_out(samples: Sequence[Sample], share: float, seed: int, minimum: int) -> tuple[list[Sample], list[Sample]]:
    """(training, held out), both in the order of `samples`: `share` of the good pictures, at least `minimum`, is held out.

    Pictures that the data set itself sets apart come first. Of the rest each class gives in proportion, by largest remainder,
    and keeps at least one picture to train on; anomalous samples stay in training. The same samples and seed give the same
    split. Raises DataError where the classes are too small to give that many.
    """
    classes: dict[str, list[int]] = {}
    held_out = {index for index, sample in enumerate(samples) if sample.set_apart}
    for index, sample in enumerate(samples):
        if sample.label == GOOD and index not in held_out:
            classes.setdefault(sample.category, []).append(index)
    good = sum(map(len, classes.values()))
    wanted = max(max(round(share * (good + len(held_out))), minimum) - len(held_out), 0)
    if wanted > good - len(classes):
        raise DataError(
            f"{good} good pictures in {len(classes)} classes cannot give {wanted} for calibration and keep one of each class "
            "to train on: add pictures"
        )
    generator = np.random.default_rng(seed)
    for indices, count in zip(classes.values(), _apportion([len(c) for c in classes.values()], wanted), strict=True):
        held_out.update(generator.permutation(indices)[:count].tolist())
    training = [sample for index, sample in enumerate(samples) if index not in held_out]
    return training, [samples[index] for index in sorted(held_out)]


def _apportion(sizes: Sequence[int], total: int) -> list[int]:
    """Divide `total` among classes in proportion to their sizes, each below its size."""
    quotas = np.array(sizes, dtype=np.float64) * total / sum(sizes)
    room = np.array(sizes) - 1
    counts = np.minimum(np.floor(quotas).astype(np.int64), room)
    while counts.sum() < total:
        counts[np.argmax(np.where(counts < room, quotas - counts, -np.inf))] += 1
    return [int(count) for count in counts]
