"""Could another rule join the branches better? Every rule here sees the test's own good pictures, which no calibration can.

    python -m benchmarks.fusion runs/fashion_mnist/seed-0/halves/*/scores.csv

Takes the `scores.csv` of evaluations. A rule that knows good pictures alone cannot know which branch is noise on the defects to
come: where one is, joining costs, whatever the rule.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

from training.calibrate import fit_sigmoid, fit_wide_sigmoid, upper_quantile
from training.metrics import image_auroc

ALPHA = 0.01
Scores = npt.NDArray[np.float64]
Evidence = Callable[[Scores, Scores], Scores]  # of a branch's scores, given those of good pictures


def noisy_or(scores: Scores, good: Scores) -> Scores:
    """Duet's: both branches equally quiet on good pictures."""
    sigmoid = fit_sigmoid(good, ALPHA)
    return np.logaddexp(0.0, (scores - sigmoid.tau) / sigmoid.sigma)


def noisy_or_by_spread(scores: Scores, good: Scores) -> Scores:
    """Each branch in units of its own spread on good pictures."""
    sigmoid = fit_wide_sigmoid(good, ALPHA)
    return np.logaddexp(0.0, (scores - sigmoid.tau) / sigmoid.sigma)


def surprise(scores: Scores, good: Scores) -> Scores:
    """-log of the p-value, with an exponential tail beyond the largest good scores: their sum is Fisher's method."""
    tau, scale = upper_quantile(good, ALPHA), (upper_quantile(good, ALPHA) - upper_quantile(good, 0.1)) / np.log(0.1 / ALPHA)
    share = 1 - np.searchsorted(np.sort(good), scores) / len(good)
    return np.where(scores > tau, (scores - tau) / scale - np.log(ALPHA), -np.log(np.maximum(share, ALPHA)))


RULES: dict[str, tuple[Evidence, Callable[[Scores, Scores], Scores]]] = {
    "Noisy-OR, equally quiet (Duet's)": (noisy_or, np.add),
    "Noisy-OR, in units of spread": (noisy_or_by_spread, np.add),
    "sum of log p-values (Fisher)": (surprise, np.add),
    "larger of both": (surprise, np.maximum),
}


def main(files: Annotated[list[Path], typer.Argument(help="scores.csv of an evaluation; their AUROC is averaged.")]) -> None:
    """Compare."""
    rows: dict[str, list[float]] = {}
    for file in files:
        local, semantic, joint, labels = _read(file)
        good = labels == 0
        found = {"local": local, "semantic": semantic, "joint, as calibrated on held-out pictures": joint}
        for name, (evidence, join) in RULES.items():
            found[name] = join(evidence(local, local[good]), evidence(semantic, semantic[good]))
        for name, scores in found.items():
            rows.setdefault(name, []).append(100 * image_auroc(scores, labels))
    table = Table("AUROC, per cent", *[file.parent.name for file in files], "mean")
    for name, values in rows.items():
        table.add_row(name, *[f"{value:.1f}" for value in values], f"{np.mean(values):.1f}")
    Console(width=40 + 12 * len(files)).print(table)


def _read(file: Path) -> tuple[Scores, Scores, Scores, npt.NDArray[np.int64]]:
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    local, semantic, joint = (
        np.array([float(row[f"{branch}_score"]) for row in rows]) for branch in ("local", "semantic", "joint")
    )
    return local, semantic, joint, np.array([int(row["label"]) for row in rows])


if __name__ == "__main__":
    typer.run(main)
