"""Evaluation on a labelled test split: image and pixel metrics of each score, and the false alarms at the threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.table import Table

from service.images import resize_square
from service.model_format import MAP_SIZE, score_threshold

from .data import GOOD, Sample
from .errors import TrainingError
from .metrics import aupro, average_precision, f1_max, image_auroc, pixel_auroc
from .progress import Progress
from .scorers import Scorer

BATCH = 16
# what each branch's pictures are ranked by: the joint score, because the probability of a clear defect rounds to 1
RANKED_BY = {"local": "local_score", "semantic": "semantic_score", "joint": "joint_score"}
IMAGE_METRICS: dict[str, Callable[[npt.ArrayLike, npt.ArrayLike], float]] = {
    "image_auroc": image_auroc,
    "image_ap": average_precision,
    "image_f1_max": f1_max,
}


@dataclass(frozen=True)
class Evaluation:
    """Scores of all samples and the metrics computed from them."""

    samples: Sequence[Sample]
    outputs: dict[str, npt.NDArray[np.float32]]  # by tensor name, [M] each
    maps: dict[int, npt.NDArray[np.float32]]  # anomaly maps [256, 256] by sample index, of samples whose mask is known
    anomalous: npt.NDArray[np.bool_]  # verdicts [M]
    metrics: dict[str, float]


def evaluate(scorer: Scorer, samples: Sequence[Sample]) -> Evaluation:
    """Score every sample and compare with its label and mask. Raises TrainingError when there is nothing to tell apart."""
    labels = np.array([sample.label for sample in samples])
    if not 0 < labels.sum() < len(labels):
        raise TrainingError(
            f"{len(samples)} test pictures, {int(labels.sum())} of them anomalous: both kinds are needed (is --normal right?)"
        )
    outputs, maps = _score_all(scorer, samples)
    anomalous = outputs["joint_score"] >= score_threshold(scorer.threshold)
    metrics: dict[str, float] = {}
    for branch, tensor in RANKED_BY.items():
        if tensor in outputs:
            metrics |= {f"{name}/{branch}": metric(outputs[tensor], labels) for name, metric in IMAGE_METRICS.items()}
    categories = sorted({sample.category for sample in samples if sample.label == GOOD})
    if len(categories) > 1:
        metrics |= _per_category(samples, outputs, labels, categories)
    masks = {index: samples[index].mask(MAP_SIZE) for index in maps}
    if any(mask.any() for mask in masks.values()):
        stacked_maps, stacked_masks = np.stack(list(maps.values())), np.stack(list(masks.values()))
        metrics["pixel_auroc/local"] = pixel_auroc(stacked_maps, stacked_masks)
        metrics["aupro/local"] = aupro(stacked_maps, stacked_masks)
    metrics["false_alarm_rate"] = float(anomalous[labels == GOOD].mean())
    metrics["detection_rate"] = float(anomalous[labels != GOOD].mean())
    metrics["good_images"] = float((labels == GOOD).sum())
    metrics["anomalous_images"] = float((labels != GOOD).sum())
    return Evaluation(samples, outputs, maps, anomalous, metrics)


def _score_all(
    scorer: Scorer, samples: Sequence[Sample]
) -> tuple[dict[str, npt.NDArray[np.float32]], dict[int, npt.NDArray[np.float32]]]:
    """Scores by tensor name, and the maps of pictures whose mask is known if any defective picture has one."""
    with_maps = any(sample.masks for sample in samples)
    found: dict[str, list[npt.NDArray[np.float32]]] = {}
    maps: dict[int, npt.NDArray[np.float32]] = {}
    with Progress("scoring", len(samples)) as bar:
        for start in range(0, len(samples), BATCH):
            batch = samples[start : start + BATCH]
            outputs = scorer.score(np.stack([resize_square(sample.pixels(), scorer.input_size) for sample in batch]))
            anomaly_maps = outputs.pop("anomaly_map", None)
            if with_maps and anomaly_maps is not None:
                maps |= {start + i: anomaly_maps[i] for i, sample in enumerate(batch) if sample.has_mask}
            for name, values in outputs.items():
                found.setdefault(name, []).append(values)
            for _ in batch:
                bar.advance()
    return {name: np.concatenate(parts) for name, parts in found.items()}, maps


def _per_category(
    samples: Sequence[Sample], outputs: dict[str, npt.NDArray[np.float32]], labels: npt.NDArray[np.int_], categories: list[str]
) -> dict[str, float]:
    """AUROC within each category that has both labels, and their mean, beside the pooled figures."""
    metrics: dict[str, float] = {}
    names = np.array([sample.category for sample in samples])
    for branch, tensor in RANKED_BY.items():
        if tensor not in outputs:
            continue
        of_category = {
            category: image_auroc(outputs[tensor][names == category], labels[names == category])
            for category in categories
            if 0 < labels[names == category].mean() < 1
        }
        metrics |= {f"image_auroc/{branch}/{category}": value for category, value in of_category.items()}
        if of_category:
            metrics[f"image_auroc_mean/{branch}"] = float(np.mean(list(of_category.values())))
    return metrics


def metrics_table(metrics: dict[str, float]) -> Table:
    """The metrics as a table: a row a metric, a column a score, figures in per cent."""
    table = Table("metric", *RANKED_BY, title=f"{metrics['good_images']:.0f} good, {metrics['anomalous_images']:.0f} anomalous")
    rows: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        parts = name.split("/")
        if len(parts) > 1:
            rows.setdefault(" ".join((parts[0], *parts[2:])), {})[parts[1]] = value
    for name, row in rows.items():
        table.add_row(name, *(f"{100 * row[branch]:.2f}" if branch in row else "" for branch in RANKED_BY))
    table.add_section()
    table.add_row("false alarm rate", "", "", f"{100 * metrics['false_alarm_rate']:.2f}")
    table.add_row("detection rate", "", "", f"{100 * metrics['detection_rate']:.2f}")
    return table
