"""Metrics of an evaluation: over all pictures with one threshold, for each category by itself, and the mean over categories.

`METRIC/BRANCH` is over all pictures together, `METRIC/BRANCH/CATEGORY` over one category, `METRIC_mean/BRANCH` the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from rich.table import Table

from service.model_format import MAP_SIZE

from .data import GOOD, Sample
from .full_size import full_size_curve
from .metrics import Computed, average_precision, f1_max, image_auroc, pixel_curve

Scores = npt.NDArray[np.float32]

# what each branch's pictures are ranked by: the joint score, because the probability of a clear defect rounds to 1
RANKED_BY = {"local": "local_score", "semantic": "semantic_score", "joint": "joint_score"}
IMAGE_METRICS: dict[str, Callable[[npt.ArrayLike, npt.ArrayLike], float]] = {
    "image_auroc": image_auroc,
    "image_ap": average_precision,
    "image_f1_max": f1_max,
}
SPRO_LIMITS = {"spro_0.05": 0.05, "spro_0.3": 0.3}
AUPRO_LIMITS = {"aupro": 0.3, "aupro_0.1": 0.1, "aupro_0.05": 0.05}


def measure(samples: Sequence[Sample], outputs: Mapping[str, Scores], maps: Mapping[int, Scores]) -> dict[str, float]:
    """All metrics that the pictures allow.

    `outputs` hold a score of each sample by tensor name [M], `maps` the anomaly maps [256, 256] by sample index, of those whose
    mask is known. A category counts by itself where it has good and anomalous pictures, or masks.
    """
    everything = range(len(samples))
    metrics = dict(_of(everything, samples, outputs, maps))
    categories = sorted({sample.category for sample in samples if sample.label == GOOD})
    if len(categories) > 1:
        # of a set of classes, what is anomalous belongs to none of the normal ones, and counts against each of them
        strange = [i for i in everything if samples[i].category not in categories]
        own = {name: [i for i in everything if samples[i].category == name] + strange for name in categories}
        of_each = {name: dict(_of(indices, samples, outputs, maps)) for name, indices in own.items()}
        for metric in list(metrics):
            values = {name: found[metric] for name, found in of_each.items() if metric in found}
            metrics |= {f"{metric}/{name}": value for name, value in values.items()}
            if values:
                kind, branch = metric.split("/")
                metrics[f"{kind}_mean/{branch}"] = float(np.mean(list(values.values())))
    return metrics


def _of(
    indices: Sequence[int], samples: Sequence[Sample], outputs: Mapping[str, Scores], maps: Mapping[int, Scores]
) -> Iterator[tuple[str, float]]:
    labels = np.array([samples[i].label for i in indices])
    if 0 < labels.sum() < len(labels):
        for branch, tensor in RANKED_BY.items():
            if tensor in outputs:
                for name, metric in IMAGE_METRICS.items():
                    yield f"{name}/{branch}", metric(outputs[tensor][list(indices)], labels)
        if any(samples[i].saturations is not None for i in indices):
            yield from _of_kinds(indices, samples, outputs)
    known = [i for i in indices if i in maps]
    if any(samples[i].mask(MAP_SIZE).any() for i in known if samples[i].masks):
        # masks are read when their turn comes: those of a large set do not fit into memory
        curve = pixel_curve([maps[i] for i in known], Computed(len(known), lambda index: samples[known[index]].mask(MAP_SIZE)))
        yield "pixel_auroc/local", curve.auroc()
        yield "pixel_ap/local", curve.average_precision()
        yield "pixel_f1_max/local", curve.f1_max()
        for name, limit in AUPRO_LIMITS.items():
            yield f"{name}/local", curve.overlap_area(limit)
        if any(samples[i].saturations is not None for i in known):
            yield from _spro(known, samples, maps)


def _spro(known: Sequence[int], samples: Sequence[Sample], maps: Mapping[int, Scores]) -> Iterator[tuple[str, float]]:
    """MVTec-LOCO: sPRO of each kind of anomaly beside all good pictures, and their mean, which is the benchmark's figure."""
    found: dict[str, list[float]] = {name: [] for name in SPRO_LIMITS}
    for kind, chosen in _by_kind(known, samples):
        curve = full_size_curve([samples[i] for i in chosen], [maps[i] for i in chosen])
        for name, limit in SPRO_LIMITS.items():
            found[name].append(curve.overlap_area(limit))
            yield f"{name}_{kind}/local", found[name][-1]
    for name, values in found.items():
        yield f"{name}/local", float(np.mean(values))


def _by_kind(indices: Sequence[int], samples: Sequence[Sample]) -> list[tuple[str, list[int]]]:
    """The kinds of anomaly, each with its pictures and all good ones."""
    kinds = sorted({samples[i].defect or "" for i in indices if samples[i].label != GOOD})
    return [(kind, [i for i in indices if samples[i].label == GOOD or samples[i].defect == kind]) for kind in kinds]


def _of_kinds(indices: Sequence[int], samples: Sequence[Sample], outputs: Mapping[str, Scores]) -> Iterator[tuple[str, float]]:
    """MVTec-LOCO: AUROC of logical and of structural anomalies, each against the same good pictures, and their mean."""
    for branch, tensor in RANKED_BY.items():
        if tensor in outputs:
            found = []
            for kind, chosen in _by_kind(indices, samples):
                found.append(image_auroc(outputs[tensor][chosen], [samples[i].label for i in chosen]))
                yield f"image_auroc_{kind}/{branch}", found[-1]
            yield f"image_auroc_mean_of_kinds/{branch}", float(np.mean(found))


def metrics_table(metrics: Mapping[str, float]) -> Table:
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
