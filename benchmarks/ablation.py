"""What each part of the method is worth: the same training with one thing changed at a time, on one data set.

    python -m benchmarks.ablation --data PATH --layout mvtec --input-size 224 --steps 400 --batch-size 8 --output runs/ablation

Stopped, it goes on when the command is repeated. Every row is one seed: differences of a point are noise.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from training.calibrate import calibrate_run
from training.data import class_names, load_samples
from training.errors import TrainingError
from training.evaluate import score_all
from training.files import write_text
from training.fit import fit
from training.fit_settings import FitSettings, recipe
from training.measures import measure
from training.metrics import image_auroc
from training.run_folder import RunFolder
from training.scorers import RunScorer
from training.start import start_run
from training.teacher import load_teacher

from .resume import claim

TIMED_BATCH, TIMED_ROUNDS = 4, 25


def variants(depth: int) -> dict[str, dict[str, Any]]:
    """Changed settings by the name of the row, for a teacher of so many blocks."""
    return {
        "as shipped": {},
        "lambda_D 4": {"local_weight": 4.0},
        "lambda_E 4": {"semantic_weight": 4.0},
        "taught blocks 1": {"taught_blocks": 1},
        "taught blocks 2": {"taught_blocks": 2},
        "no spoilt pictures": {"spoilt_share": 0.0},
        "no spoilt pictures, hard mining": {"spoilt_share": 0.0, "hard_share": 0.9},
        "semantic score not whitened": {"whitened": False},
        "the paper's recipe": recipe("paper"),
        "encoder of full depth": {"encoder_depth": depth},
        "encoder of quarter depth": {"encoder_depth": depth // 4, "taught_blocks": min(4, depth // 4)},
    }


def main(
    data: Annotated[Path, typer.Option()],
    layout: Annotated[str, typer.Option()],
    output: Annotated[Path, typer.Option(help="Folder of the runs.")],
    normal: Annotated[list[str] | None, typer.Option(help="A normal class; repeat it. All if absent.")] = None,
    teacher: Annotated[str, typer.Option()] = "compact",
    input_size: Annotated[int, typer.Option()] = 224,
    steps: Annotated[int, typer.Option()] = 400,
    batch_size: Annotated[int, typer.Option()] = 8,
    every: Annotated[int, typer.Option(help="Train on, and score, every n-th picture only.")] = 1,
) -> None:
    """Print AUROC in per cent of each branch, of the Noisy-OR and of the raw scores' sum, and pictures a second in torch."""
    names = normal or class_names(layout, data)
    training = load_samples(layout, data, "train", names)[::every]
    test = load_samples(layout, data, "test", names)[::every]
    base = {"teacher": teacher, "input_size": input_size, "steps": steps, "batch_size": batch_size}
    claim(output, {"data": data.resolve(), "layout": layout, "normal": names, "every": every, **base})
    rows = variants(load_teacher(teacher, input_size).depth)
    runs = {}
    for name, changed in rows.items():
        run = runs[name] = RunFolder(output / name.replace(" ", "-"))
        file = run.path / "figures.json"
        if file.exists():
            continue
        Console(stderr=True).print(name, style="bold")
        if not run.description_file.exists():
            start_run(run.path, FitSettings(**base | changed), training, layout)
        if not fit(run):
            raise TrainingError("stopped, nothing is lost; go on with the same command")
        calibrate_run(run)
        outputs, maps = score_all(RunScorer(run), test)
        figures = measure(test, outputs, maps)
        labels = np.array([sample.label for sample in test])
        figures["raw_sum"] = image_auroc(outputs["local_score"] + outputs["semantic_score"], labels)
        write_text(file, json.dumps(figures, indent=2))
    rates = relative_speed(runs)
    columns = {"local": "image_auroc/local", "semantic": "image_auroc/semantic", "joint": "image_auroc/joint",
               "raw sum": "raw_sum", "pixel": "pixel_auroc/local"}  # fmt: skip
    table = Table("change", *columns, "pictures/s", title=f"{layout}, {len(test)} test pictures, AUROC in per cent")
    for name, run in runs.items():
        figures = json.loads((run.path / "figures.json").read_text(encoding="utf-8"))
        cells = [f"{100 * figures[metric]:.1f}" if metric in figures else "" for metric in columns.values()]
        table.add_row(name, *cells, f"{rates[name]:.2f} x")
    Console(width=120).print(table)


def relative_speed(runs: Mapping[str, RunFolder]) -> dict[str, float]:
    """Images/s of each run's graph in torch, as a multiple of the first's: the median over turns, in each of which all are
    timed, so that a busy machine slows all of them down alike."""
    graphs = {name: run.calibrated_graph() for name, run in runs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    pictures = {name: torch.from_numpy(np.resize(run.held_out(), (TIMED_BATCH, *run.held_out().shape[1:])))
                for name, run in runs.items()}  # fmt: skip
    with torch.inference_mode():
        for _ in range(TIMED_ROUNDS):
            for name, graph in graphs.items():
                start = time.perf_counter()
                graph(pictures[name])
                seconds[name].append(time.perf_counter() - start)
    first = next(iter(seconds.values()))
    return {name: median(a / b for a, b in zip(first, taken, strict=True)) for name, taken in seconds.items()}


if __name__ == "__main__":
    typer.run(main)
