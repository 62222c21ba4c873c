"""Fashion-MNIST one against the rest: ten models, each taught one class, each tested on all ten classes of the test split.

    python -m benchmarks.one_vs_rest --data /usr/share/datasets/fashion-mnist --output runs/fmnist

Each model's run stays under --output; a class that has a metrics.json is not trained again, so the command can be stopped and
repeated.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from training.data.fmnist import CLASSES

BRANCHES = ("local", "semantic", "joint")


def main(
    data: Annotated[Path, typer.Option(help="Folder of the IDX files.")],
    output: Annotated[Path, typer.Option(help="Folder of the ten runs.")],
    steps: Annotated[int, typer.Option()] = 300,
    batch_size: Annotated[int, typer.Option()] = 16,
    input_size: Annotated[int, typer.Option()] = 112,
    encoder_depth: Annotated[int, typer.Option()] = 4,
    every: Annotated[int, typer.Option(help="Score every n-th test picture only.")] = 1,
) -> None:
    """Train, evaluate, and print the table of image AUROC."""
    rows: dict[str, dict[str, float]] = {}
    for digit, name in enumerate(CLASSES):
        run = output / str(digit)
        if not (run / "metrics.json").exists():
            source = ["--data", str(data), "--layout", "fmnist", "--normal", name]
            schedule = ["--steps", str(steps), "--batch-size", str(batch_size), "--input-size", str(input_size)]
            shape = ["--encoder-depth", str(encoder_depth)]
            how = ["--resume"] if (run / "run.json").exists() else [*source, *schedule, *shape]
            _train_command("fit", *how, "--output", str(run))
            _train_command("evaluate", str(run), *source, "--every", str(every), "--report", str(run))
        rows[name] = json.loads((run / "metrics.json").read_text())
    table = Table("normal", *BRANCHES, "false alarms", title="Fashion-MNIST one-vs-rest, image AUROC in per cent")
    figures = {
        name: [row[f"image_auroc/{branch}"] for branch in BRANCHES] + [row["false_alarm_rate"]] for name, row in rows.items()
    }
    for name, values in (figures | {"mean": list(np.mean(list(figures.values()), axis=0))}).items():
        table.add_row(name, *(f"{100 * value:.2f}" for value in values))
    Console().print(table)


def _train_command(*arguments: str) -> None:
    subprocess.run([sys.executable, "-c", "from training.cli import main; main()", *arguments], check=True)


if __name__ == "__main__":
    typer.run(main)
