"""The model card: what a model file was made of, what it was measured to do, and what it is not for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from matplotlib.figure import Figure
from scipy.stats import binomtest

from service.model_format import ModelMetadata, Precision, score_threshold

from .calibrate import expected_false_alarms, more_false_alarms
from .files import write_beside, write_text
from .measures import RANKED_BY
from .run_folder import RunCalibration, RunDescription

CARD = "README.md"
CALIBRATION_PLOT = "calibration.png"
_ARITHMETIC: dict[Precision, str] = {
    "fp32": "float32",
    "fp16": "float16 in the networks, float32 in the scores",
    "int8": "int8 in the networks' linear layers, else float32; calibrated and its threshold set on its own scores",
}


def write_card(
    folder: Path, metadata: ModelMetadata, made_of: RunDescription | int, outcome: RunCalibration, pictures: Mapping[str, str]
) -> None:
    """Write README.md and the calibration plot beside a model file; `pictures` are titles of files already there, by name.

    `made_of` is the run that was exported, or the version that was calibrated anew.
    """
    write_beside(folder / CALIBRATION_PLOT, lambda path: _plot(outcome).savefig(path, format="png", dpi=110))
    shown = {CALIBRATION_PLOT: "joint scores of the good pictures it was calibrated on, and the threshold"} | dict(pictures)
    if isinstance(made_of, int):
        settings = f"Those of version {made_of}: see its card.\n"
    else:
        settings = _table(("setting", "value"), ((k, f"`{v}`") for k, v in made_of.settings))
    sections = [
        f"# Model card: {metadata.name}\n",
        _table(("", ""), _facts(metadata, made_of, outcome)),
        "## Measured\n\n" + _measured(metadata),
        "".join(f"![{title}]({file})\n\n" for file, title in shown.items()),
        "## Use and limits\n\n" + "\n".join(f"- {line}" for line in _limits(metadata)) + "\n",
        "## Settings\n\n" + settings,
    ]
    write_text(folder / CARD, "\n".join(sections))


def _facts(metadata: ModelMetadata, made_of: RunDescription | int, outcome: RunCalibration) -> Iterator[tuple[str, str]]:
    data, images = metadata.training_data, metadata.calibration.images
    if isinstance(made_of, int):
        classes, how = ", ".join(data.normal), f"by `duet-train calibrate` of version {made_of}, whose networks it has"
    else:
        classes = ", ".join(f"{name} {n:,}" for name, n in zip(data.normal, made_of.class_counts, strict=True))
        folds = made_of.settings.folds
        how = f"which students of {folds} folds never saw" if folds else "that the training has not seen"
    low, high = expected_false_alarms(images, metadata.alpha)
    stand_in = ", a stand-in for DINOv2" if metadata.teacher.stand_in else ""
    yield "Teacher", f"`{metadata.teacher.source}`{stand_in}; weights {metadata.teacher.sha256[:12]}"
    yield "Branches", " and ".join(metadata.branches)
    yield "Input", _input(metadata)
    yield "Arithmetic", _ARITHMETIC[metadata.precision]
    with_defects = f", and {data.defects:,} labelled defects" if data.defects else ""
    yield (
        "Trained on",
        f"{data.images:,} good pictures: {classes}{with_defects}; layout {data.layout}, fingerprint {data.fingerprint[:12]}",
    )
    yield "Calibrated on", f"{images:,} good pictures {how}"
    yield "Threshold", f"joint probability {metadata.threshold:.4f}, for a share of {metadata.alpha:g} of good pictures"
    yield (
        "Expected false alarms",
        f"{100 * low:.2g} to {100 * high:.2g} % of pictures like those (95 % interval){more_false_alarms(outcome)}",
    )
    yield "Parity with torch", f"largest difference of any score {metadata.parity.max_abs_difference:.1e}"
    yield "Made", f"{metadata.created:%Y-%m-%d %H:%M} UTC"
    yield "Licence", metadata.licence


def _input(metadata: ModelMetadata) -> str:
    height, width = metadata.input_shape
    whole, side, tiles = f"{width} x {height} pixels, RGB", metadata.input_size, metadata.tiles
    if tiles is None:
        return whole
    return f"{whole}, seen in {tiles.rows} x {tiles.columns} tiles of {side} x {side} that overlap by {tiles.overlap}"


def _measured(metadata: ModelMetadata) -> str:
    metrics = metadata.metrics
    if not metrics:
        return "Nothing yet: `duet-train evaluate` measures it; `export RUN --report REPORT` puts a run's figures here.\n"
    good, anomalous = int(metrics["good_images"]), int(metrics["anomalous_images"])
    rows = [
        (f"image AUROC, {branch}", f"{100 * value:.2f}", _interval(*auroc_interval(value, anomalous, good)))
        for branch in RANKED_BY
        if (value := metrics.get(f"image_auroc/{branch}")) is not None
    ]
    rows += [
        (title, f"{100 * metrics[name]:.2f}", "")
        for name, title in (("pixel_auroc/local", "pixel AUROC"), ("aupro/local", "AUPRO, limit 0.3"))
        if name in metrics
    ]
    for name, title, count in (("false_alarm_rate", "false alarms", good), ("detection_rate", "detected", anomalous)):
        exact = binomtest(round(metrics[name] * count), count).proportion_ci(0.95, method="exact")
        rows.append((f"{title}, of {count:,}", f"{100 * metrics[name]:.2f}", _interval(exact.low, exact.high)))
    return _table((f"on {good:,} good and {anomalous:,} anomalous pictures", "per cent", "95 % interval"), rows)


def auroc_interval(auroc: float, positives: int, negatives: int) -> tuple[float, float]:
    """95 % interval of an AUROC measured on so many pictures, within [0, 1] (Hanley and McNeil, Radiology 1982).

    That has no width at 0 and 1: there it is a proportion's (Clopper and Pearson), with the fewer of the pictures.
    """
    if auroc in (0.0, 1.0):
        fewer = min(positives, negatives)
        exact = binomtest(round(auroc * fewer), fewer).proportion_ci(0.95, method="exact")
        return float(exact.low), float(exact.high)
    both_found, one_finds_both = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc) + (positives - 1) * (both_found - auroc**2) + (negatives - 1) * (one_finds_both - auroc**2)
    reach = 1.96 * math.sqrt(max(variance, 0.0) / (positives * negatives))
    return max(auroc - reach, 0.0), min(auroc + reach, 1.0)


def _limits(metadata: ModelMetadata) -> Iterator[str]:
    classes = metadata.training_data.normal
    what = classes[0] if len(classes) == 1 else f"{', '.join(classes[:-1])} and {classes[-1]}"
    yield f"Made to tell good pictures of {what} from anything else, taken by the same camera, light and fixture."
    yield "For another line, calibrate it anew on that line's good pictures: `duet-train calibrate model.onnx --data …`."
    height, width = metadata.input_shape
    yield (
        f"A defect has to be visible at {width} x {height} pixels: pictures are resized to that. Less than two of these pixels "
        f"across it is lost; in a picture of 4000 x 3000 two of them are {8000 / width:.1f} x {6000 / height:.1f} of its own."
    )
    yield "A heatmap shows where the picture is unlike good ones; it says neither what the defect is nor whether it matters."
    if metadata.teacher.stand_in:
        yield "Its teacher is the stand-in that ships with Duet: expect more of DINOv2."


def _plot(outcome: RunCalibration) -> Figure:
    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axis = figure.subplots()
    axis.hist(outcome.joint_scores, bins=60, color="tab:blue", alpha=0.7)
    limit = score_threshold(outcome.threshold)
    if math.isfinite(limit):
        axis.axvline(limit, color="tab:red", label=f"threshold, alpha {outcome.alpha:g}")
        axis.legend(fontsize=8, loc="upper right")
    axis.set(xlabel="joint score", ylabel="good pictures", title=f"{outcome.calibration.images:,} good pictures")
    return figure


def _interval(low: float, high: float) -> str:
    return f"{100 * low:.2f} to {100 * high:.2f}"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]] | list[tuple[str, str, str]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
