"""The demo model on pictures it never saw: the figures of its model card.

    duet-train render --output runs/parts --kind washer --kind gear --kind connector \
        --good 1000 --defective 120 --size 112 --seed 1
    duet-train render --output runs/unseen --kind label --good 200 --defective 0 --size 112 --seed 1
    python -m benchmarks.demo_model models/demo/1/model.onnx --parts runs/parts --unseen runs/unseen \
        --fashion-mnist /usr/share/datasets/fashion-mnist
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from training.data import ANOMALOUS, GOOD, Sample, load_samples
from training.evaluate import evaluate
from training.scorers import OnnxScorer

FOOTWEAR = ("sandal", "sneaker", "ankle boot")


def main(
    model: Annotated[Path, typer.Argument()],
    parts: Annotated[Path, typer.Option(help="Rendered kinds that the model was trained on; its test split is used.")],
    unseen: Annotated[Path, typer.Option(help="A rendered kind that it was not trained on; good pictures only.")],
    fashion_mnist: Annotated[Path, typer.Option(help="Folder of the IDX files; the test split is used.")],
    output: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
) -> None:
    """Print AUROC of each task and the false alarms among good pictures."""
    scorer = OnnxScorer(model)
    tested = load_samples("mvtec", parts, "test")
    good_parts = [sample for sample in tested if sample.label == GOOD]
    strangers = [
        replace(s, label=ANOMALOUS, defect="unseen kind", masks=())
        for split in ("train", "test")
        for s in load_samples("mvtec", unseen, split)
    ]
    tasks: dict[str, Sequence[Sample]] = {
        "defective against good parts": tested,
        "unseen kind against good parts": good_parts + strangers,
        "other clothes against footwear": load_samples("fmnist", fashion_mnist, "test", FOOTWEAR),
    }
    figures: dict[str, dict[str, float]] = {}
    for task, samples in tasks.items():
        figures[task] = evaluate(scorer, samples).metrics
    columns = ("image_auroc/local", "image_auroc/semantic", "image_auroc/joint", "pixel_auroc/local", "detection_rate")
    table = Table("task", *columns, "false alarms of good", "95 % interval", title=f"{model}, threshold {scorer.threshold:.4f}")
    for task, metrics in figures.items():
        good = int(metrics["good_images"])
        alarms = round(metrics["false_alarm_rate"] * good)
        interval = binomtest(alarms, good).proportion_ci(0.95, method="exact")
        values = [f"{metrics[name]:.4f}" if name in metrics else "" for name in columns]
        table.add_row(task, *values, f"{alarms} of {good}", f"{100 * interval.low:.2f} to {100 * interval.high:.2f} %")
    Console(width=160).print(table)
    if output:
        output.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
