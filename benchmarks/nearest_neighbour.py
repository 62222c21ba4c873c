"""Nearest neighbours on a teacher's own features, without any training: what a teacher is worth by itself.

    python -m benchmarks.nearest_neighbour --data PATH --layout mvtec --input-size 224
    python -m benchmarks.nearest_neighbour --data PATH --layout fmnist --input-size 112 --one-vs-rest

`duet-train benchmark` measures the same beside the students that it trains.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from training.benchmark.neighbours import MOST_PICTURES, NeighbourScorer
from training.data import class_names, load_samples
from training.evaluate import score_all
from training.measures import measure
from training.progress import track
from training.teacher import load_teacher

METRICS = ("image_auroc/local", "image_auroc/semantic", "pixel_auroc/local")


def main(
    data: Annotated[Path, typer.Option()],
    layout: Annotated[str, typer.Option()],
    input_size: Annotated[int, typer.Option()] = 224,
    teacher: Annotated[str, typer.Option()] = "compact",
    one_vs_rest: Annotated[bool, typer.Option("--one-vs-rest", help="Each class in turn as the normal one.")] = False,
    every: Annotated[int, typer.Option(help="Score every n-th test picture only.")] = 1,
) -> None:
    """Print the table of AUROC in per cent."""
    network = load_teacher(teacher, input_size)
    classes = class_names(layout, data)
    rows: dict[str, list[float]] = {}
    for name, normal in [(name, [name]) for name in classes] if one_vs_rest else [("all", classes)]:
        training = load_samples(layout, data, "train", normal)
        chosen = np.random.default_rng(0).permutation(len(training))[: MOST_PICTURES * len(normal)]
        pictures = [training[i].model_input((input_size, input_size)) for i in track(chosen.tolist(), f"{name}: decoding")]
        test = load_samples(layout, data, "test", normal)[::every]
        metrics = measure(test, *score_all(NeighbourScorer(network, np.stack(pictures), len(normal), 0), test))
        rows[name] = [metrics.get(metric, float("nan")) for metric in METRICS]
    if one_vs_rest:
        rows["mean"] = np.mean(list(rows.values()), axis=0).tolist()
    table = Table("normal", *METRICS, title=f"nearest neighbours on '{teacher}', per cent")
    for name, values in rows.items():
        table.add_row(name, *("" if np.isnan(value) else f"{100 * value:.2f}" for value in values))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
