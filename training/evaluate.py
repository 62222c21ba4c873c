"""Evaluation on a labelled test split: image and pixel metrics of each score, and the false alarms at the threshold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile, gettempdir

import numpy as np
import numpy.typing as npt

from service.model_format import MAP_SIZE, score_threshold

from .data import GOOD, Sample
from .errors import TrainingError
from .false_alarms import FalseAlarms, false_alarms
from .measures import measure
from .progress import Progress
from .scorers import PictureScorer, Scorer
from .seen_pictures import refuse_seen


@dataclass(frozen=True)
class Evaluation:
    """Scores of all samples and the metrics computed from them."""

    samples: Sequence[Sample]
    outputs: dict[str, npt.NDArray[np.float32]]  # by tensor name, [M] each
    maps: dict[int, npt.NDArray[np.float32]]  # anomaly maps [256, 256] by sample index, of samples whose mask is known
    anomalous: npt.NDArray[np.bool_]  # verdicts [M]
    metrics: dict[str, float]
    false_alarms: list[FalseAlarms]  # of a run; a file does not keep its held-out scores


def evaluate(scorer: Scorer, samples: Sequence[Sample]) -> Evaluation:
    """Score every sample and compare with its label and mask. Raises TrainingError when there is nothing to tell apart, and for
    pictures that the model has seen.
    """
    labels = np.array([sample.label for sample in samples])
    if not 0 < labels.sum() < len(labels):
        raise TrainingError(
            f"{len(samples)} test pictures, {int(labels.sum())} of them anomalous: both kinds are needed (is --normal right?)"
        )
    refuse_seen(scorer.seen, samples)
    outputs, maps = score_all(scorer, samples)
    anomalous = outputs["joint_score"] >= score_threshold(scorer.threshold)
    metrics = measure(samples, outputs, maps)
    metrics["false_alarm_rate"] = float(anomalous[labels == GOOD].mean())
    metrics["detection_rate"] = float(anomalous[labels != GOOD].mean())
    metrics["threshold"] = scorer.threshold
    metrics["good_images"] = float((labels == GOOD).sum())
    metrics["anomalous_images"] = float((labels != GOOD).sum())
    alarms = false_alarms(scorer.held_out, outputs["joint_score"][labels == GOOD])
    return Evaluation(samples, outputs, maps, anomalous, metrics, alarms)


def _new_maps(count: int) -> npt.NDArray[np.float32]:
    """Room for `count` maps in a temporary file; raises TrainingError where the disk has none."""
    with TemporaryFile() as file:  # the mapping outlives it
        size = 4 * count * MAP_SIZE**2
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # or a full disk would kill the process without a word
        except OSError as error:
            raise TrainingError(
                f"{gettempdir()} has no room for {size / 1e9:.1f} GB of anomaly maps ({error.strerror}): let TMPDIR name a "
                "larger disk"
            ) from error
        return np.memmap(file, np.float32, "r+", shape=(count, MAP_SIZE, MAP_SIZE))


def score_all(
    scorer: PictureScorer, samples: Sequence[Sample]
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[int, npt.NDArray[np.float32]]]:
    """Scores by tensor name, and the maps of pictures whose mask is known if any defective picture has one.

    The maps lie in a temporary file, a quarter of a megabyte each, and are read from it as they are needed.
    """
    known = [i for i, sample in enumerate(samples) if sample.has_mask] if any(sample.masks for sample in samples) else []
    rows = {index: row for row, index in enumerate(known)}
    stored: npt.NDArray[np.float32] | None = None
    found: dict[str, list[npt.NDArray[np.float32]]] = {}
    maps: dict[int, npt.NDArray[np.float32]] = {}
    with Progress("scoring", len(samples)) as bar:
        for start in range(0, len(samples), scorer.at_once):
            batch = samples[start : start + scorer.at_once]
            outputs = scorer.score(np.stack([sample.model_input(scorer.input_shape) for sample in batch]))
            anomaly_maps = outputs.pop("anomaly_map", None)
            if known and anomaly_maps is not None:
                stored = _new_maps(len(known)) if stored is None else stored
                for index in range(start, start + len(batch)):
                    if index in rows:
                        stored[rows[index]] = anomaly_maps[index - start]
                        maps[index] = stored[rows[index]]
            for name, values in outputs.items():
                found.setdefault(name, []).append(values)
            for _ in batch:
                bar.advance()
    return {name: np.concatenate(parts) for name, parts in found.items()}, maps
