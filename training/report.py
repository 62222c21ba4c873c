"""What an evaluation leaves behind: metrics.json, scores.csv, curves, and a sheet of pictures beside their heatmaps."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from .curves import draw_curves
from .data import GOOD
from .evaluate import Evaluation
from .false_alarms import FalseAlarms
from .files import write_beside, write_text
from .scorers import Scorer

METRICS_FILE, CURVES, SHEET = "metrics.json", "curves.png", "sheet.png"
PICTURES = {CURVES: "ROC curves and scores of each branch", SHEET: "pictures beside their heatmaps"}
EXAMPLES = 4  # of each row
TENSORS = (
    "local_score", "semantic_score", "joint_score", "local_probability", "semantic_probability", "joint_probability",
)  # fmt: skip


def write_report(folder: Path, evaluation: Evaluation, scorer: Scorer) -> None:
    """Write `metrics.json`, `scores.csv` (one line a picture), `curves.png` and `sheet.png` into `folder`.

    Of a run also `false_alarms.csv`: the shares asked for and found.
    """
    write_text(folder / METRICS_FILE, json.dumps(evaluation.metrics, indent=2))
    write_beside(folder / "scores.csv", lambda path: _write_scores(path, evaluation))
    if evaluation.false_alarms:
        write_beside(folder / "false_alarms.csv", lambda path: _write_false_alarms(path, evaluation))
    write_beside(folder / CURVES, lambda path: draw_curves(evaluation).savefig(path, format="png", dpi=110))
    write_beside(folder / SHEET, lambda path: _save_small(_sheet(evaluation, scorer), path))


def _write_false_alarms(path: Path, evaluation: Evaluation) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(FalseAlarms._fields)
        writer.writerows(evaluation.false_alarms)


def _write_scores(path: Path, evaluation: Evaluation) -> None:
    tensors = [name for name in TENSORS if name in evaluation.outputs]
    with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as stream:  # a file's name need not be text
        writer = csv.writer(stream)
        writer.writerow(["name", "category", "defect", "label", *tensors, "anomalous"])
        for index, sample in enumerate(evaluation.samples):
            scores = [repr(float(evaluation.outputs[name][index])) for name in tensors]
            row = [sample.name, sample.category, sample.defect or "", sample.label, *scores, int(evaluation.anomalous[index])]
            writer.writerow(row)


def _save_small(figure: Figure, path: Path) -> None:
    """As a palette PNG, a third of the size: the sheet goes with the model, and versions of models pile up."""
    drawn = BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(256).save(path, "PNG", optimize=True)


def _sheet(evaluation: Evaluation, scorer: Scorer) -> Figure:
    """A row for typical good pictures, one for those that came closest to a false alarm, one for each defect."""
    rows = _rows(evaluation)
    figure = Figure(figsize=(2 * EXAMPLES * 1.7, 1.95 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 2 * EXAMPLES, squeeze=False)
    for axis in grid.flat:
        axis.set_axis_off()
    for axes, (title, indices) in zip(grid, rows, strict=True):
        axes[0].text(-0.08, 0.5, title, rotation=90, va="center", ha="right", transform=axes[0].transAxes, fontsize=9)
        for place, index in enumerate(indices):
            sample = evaluation.samples[index]
            picture = sample.model_input(scorer.input_shape)
            outputs = scorer.score(picture[None])
            verdict = "anomalous" if evaluation.anomalous[index] else "good"
            axes[2 * place].imshow(picture)
            axes[2 * place].set_title(f"{sample.category}\n{verdict}, joint {outputs['joint_probability'][0]:.3f}", fontsize=7)
            pixel = scorer.calibration.pixel
            if pixel is not None:
                heat = 1 / (1 + np.exp(-np.clip((outputs["anomaly_map"][0] - pixel.tau) / pixel.sigma, -50, 50)))
                height, width = scorer.input_shape
                axes[2 * place + 1].imshow(heat, cmap="inferno", vmin=0, vmax=1, aspect=height / width)
                if sample.masks:
                    axes[2 * place + 1].contour(sample.mask(heat.shape[0]), levels=[0.5], colors="cyan", linewidths=0.7)
                axes[2 * place + 1].set_title("heatmap, 0 to 1", fontsize=7)
    return figure


def _rows(evaluation: Evaluation) -> list[tuple[str, Sequence[int]]]:
    joint = evaluation.outputs["joint_score"]
    good = [i for i, sample in enumerate(evaluation.samples) if sample.label == GOOD]
    by_score = sorted(good, key=lambda i: joint[i])
    rows: list[tuple[str, Sequence[int]]] = [
        ("good", _spread(good)),
        ("good, highest scores", by_score[: -EXAMPLES - 1 : -1]),
    ]
    for defect in sorted({sample.defect or "anomalous" for sample in evaluation.samples if sample.label != GOOD}):
        found = [i for i, s in enumerate(evaluation.samples) if s.label != GOOD and (s.defect or "anomalous") == defect]
        rows.append((defect, _spread(found)))
    return rows


def _spread(indices: Sequence[int]) -> list[int]:
    """Examples spread evenly over all."""
    return [indices[i] for i in np.unique(np.linspace(0, len(indices) - 1, min(EXAMPLES, len(indices))).astype(int))]
