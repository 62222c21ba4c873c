"""What the exact pixel metrics cost: time against scikit-learn's on the same pixels, and memory on a set of any size.

    python -m benchmarks.pixel_metrics --maps 100 --maps 1000

Maps are smooth noise with a brighter square in one picture of three, 256 x 256, in a temporary file. All five metrics are taken
from one curve; scikit-learn computes pixel AUROC and AP alone. It is left out where its arrays would pass four gigabytes.
"""

from __future__ import annotations

import resource
import time
from tempfile import TemporaryFile
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter
from sklearn.metrics import average_precision_score, roc_auc_score

from service.model_format import MAP_SIZE
from training.metrics import Computed, pixel_curve

SQUARE = 40  # pixels a side: 2.4 % of its map
LARGEST = 50_000_000  # pixels for scikit-learn


def main(maps: Annotated[list[int], typer.Option(help="Number of maps; repeat it.")]) -> None:
    """Print a row for each number of maps."""
    table = Table("maps", "million pixels", "Duet, five metrics", "scikit-learn, two", "ratio", "peak memory, MB")
    for count in maps:
        with TemporaryFile() as file:
            stored = np.memmap(file, np.float32, "w+", shape=(count, MAP_SIZE, MAP_SIZE))
            for index in range(count):
                stored[index] = _map(index)
            masks = Computed(count, _mask)
            started = time.perf_counter()
            curve = pixel_curve(list(stored), masks)
            auroc, precision = curve.auroc(), curve.average_precision()
            _ = curve.f1_max(), curve.overlap_area(0.3), curve.overlap_area(0.05)
            ours = time.perf_counter() - started
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            theirs = _scikit_learn(stored, masks, auroc, precision) if stored.size <= LARGEST else None
        compared = (f"{theirs:.2f} s", f"{theirs / ours:.1f}") if theirs else ("", "")
        table.add_row(str(count), f"{stored.size / 1e6:.0f}", f"{ours:.2f} s", *compared, f"{memory:.0f}")
    Console().print(table)


def _scikit_learn(
    maps: npt.NDArray[np.float32], masks: Computed[npt.NDArray[np.bool_]], auroc: float, precision: float
) -> float:
    truth, values = np.stack(list(masks)).ravel(), np.array(maps).ravel()
    started = time.perf_counter()
    found = roc_auc_score(truth, values), average_precision_score(truth, values)
    seconds = time.perf_counter() - started
    if not np.allclose(found, (auroc, precision), rtol=1e-9):
        raise RuntimeError(f"scikit-learn says {found}, and we say {(auroc, precision)}")
    return seconds


def _map(index: int) -> npt.NDArray[np.float32]:
    noise = gaussian_filter(np.random.default_rng(index).standard_normal((MAP_SIZE, MAP_SIZE), dtype=np.float32), 4)
    return (noise + 0.1 * _mask(index)).astype(np.float32)


def _mask(index: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros((MAP_SIZE, MAP_SIZE), dtype=np.bool_)
    if index % 3 == 0:
        top, left = np.random.default_rng([index, 1]).integers(0, MAP_SIZE - SQUARE, 2)
        mask[top : top + SQUARE, left : left + SQUARE] = True
    return mask


if __name__ == "__main__":
    typer.run(main)
