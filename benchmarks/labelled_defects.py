"""What a few labelled defects are worth: trainings without any and with some, measured on the defects that none of them saw.

    python -m benchmarks.labelled_defects --data magnetic_tile --output runs/labelled

The labelled ones are drawn from the test split of MVTec's layout; the good test pictures and the defects outside the largest
draw are what all trainings are measured on. Stopped, it goes on when the command is repeated.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from training.calibrate import calibrate_run
from training.data import GOOD, load_samples
from training.errors import TrainingError
from training.evaluate import evaluate
from training.files import write_text
from training.fit import fit
from training.fit_settings import FitSettings
from training.run_folder import RunFolder
from training.scorers import RunScorer
from training.start import start_run

from .resume import claim

METRICS = ("image_auroc/local", "image_auroc/semantic", "image_auroc/joint", "image_ap/joint", "pixel_auroc/local",
           "aupro/local", "detection_rate", "false_alarm_rate")  # fmt: skip


def main(
    data: Annotated[Path, typer.Option(help="A data set in MVTec's layout.")],
    output: Annotated[Path, typer.Option(help="Folder of the runs.")],
    count: Annotated[list[int] | None, typer.Option(help="Labelled defects; repeat it. 0, 10 and 50 if absent.")] = None,
    teacher: Annotated[str, typer.Option()] = "compact",
    input_size: Annotated[int, typer.Option()] = 112,
    steps: Annotated[int, typer.Option()] = 300,
    batch_size: Annotated[int, typer.Option()] = 8,
    seed: Annotated[list[int] | None, typer.Option(help="Repeat it for a mean. 0 if absent.")] = None,
) -> None:
    """Print the table, in per cent, mean over seeds."""
    counts, seeds = count or [0, 10, 50], seed or [0]
    claim(
        output,
        {"data": data.resolve(), "left out": max(counts), "teacher": teacher, "input size": input_size, "steps": steps}
        | {"batch size": batch_size},
    )
    good, test = load_samples("mvtec", data, "train"), load_samples("mvtec", data, "test")
    bad = [sample for sample in test if sample.label != GOOD]
    figures: dict[int, list[dict[str, float]]] = {number: [] for number in counts}
    for chosen in seeds:
        order = [bad[i] for i in np.random.default_rng(chosen).permutation(len(bad))]
        measured = [sample for sample in test if sample.label == GOOD] + order[max(counts) :]
        for number in counts:
            run = RunFolder(output / f"seed-{chosen}" / str(number))
            file = run.path / "figures.json"
            if not file.exists():
                settings = FitSettings(teacher=teacher, input_size=input_size, steps=steps, batch_size=batch_size, seed=chosen)
                if not run.description_file.exists():
                    start_run(run.path, settings, good, "mvtec", defects=order[:number])
                if not fit(run):
                    raise TrainingError("stopped, nothing is lost; go on with the same command")
                calibrate_run(run)
                write_text(file, json.dumps(evaluate(RunScorer(run), measured).metrics, indent=2))
            figures[number].append(json.loads(file.read_text(encoding="utf-8")))
    table = Table("labelled defects", *METRICS, title=f"on {len(bad) - max(counts)} defects that no training saw, per cent")
    for number, found in figures.items():
        table.add_row(str(number), *(f"{100 * np.mean([one[metric] for one in found]):.1f}" for metric in METRICS))
    Console(width=180).print(table)


if __name__ == "__main__":
    typer.run(main)
