"""Small defects on large parts, with tiles and without: plates put together from real pictures of magnetic tiles.

    python -m benchmarks.tiles --data magnetic_tile --output runs/plates

A plate is a picture of 4000 x 3000 pixels, 10 x 12 cells, in which two good tiles of the data set take turns at their own
resolution: those of train/good on training plates, those of test/good on the others. No good tile is on two plates: some have
marks that a model may well report, and would report on every plate. Only tiles as large as a cell are used, and their margins
are cut off. A defective plate has in one cell a tile with a real blowhole instead, of which no side is longer than 16 pixels.
Nothing is scaled, for which reason there are no cracks: the data set's are 37 pixels and longer. The defective tile breaks the
pattern as well, which a model may see. The plates are left in OUTPUT/plates, in MVTec-AD's layout, both runs beside them with
their reports.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from service.model_format import MAP_SIZE
from training.calibrate import calibrate_run
from training.data import GOOD, Sample, load_samples
from training.errors import TrainingError
from training.evaluate import Evaluation, evaluate
from training.fit import fit
from training.fit_settings import FitSettings
from training.progress import track
from training.report import write_report
from training.scorers import RunScorer, Scorer
from training.start import start_run
from training.tiling import parse_tiles

Pixels = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 400, 250  # of a cell, pixels
COLUMNS, ROWS = 10, 12
OF_EACH = 2  # good tiles of a plate
LARGEST_DEFECT = 16  # pixels a side
TILE, TILES = 112, "20x27"
TRAINING, TESTED = 40, 10  # plates to train on; good ones to test on, and as many defective ones
NEAR = 60  # pixels of a plate, three patches: a map's peak so near to the defect points to it
METRICS = ("image_auroc/local", "image_auroc/semantic", "image_auroc/joint", "pixel_auroc/local", "aupro/local",
           "detection_rate", "false_alarm_rate")  # fmt: skip


def main(
    data: Annotated[Path, typer.Option(help="Magnetic-tile defects in MVTec-AD's layout.")],
    output: Annotated[Path, typer.Option(help="New folder for plates, runs and reports.")],
    steps: Annotated[int, typer.Option(help="Optimiser steps of each run.")] = 250,
) -> None:
    """Make the plates, train and measure with tiles and without, and print one table."""
    plates = output / "plates"
    write_plates(data, plates)
    table = Table("", *METRICS, "peak at the defect", "seconds a picture", title="per cent")
    for name, tiles in (("tiled", TILES), ("whole", None)):
        settings = FitSettings(
            input_size=TILE, tiles=parse_tiles(tiles, TILE) if tiles else None, steps=steps, batch_size=8, encoder_depth=4,
            held_out_share=1 / 4, alpha=0.1,
        )  # fmt: skip
        run = start_run(output / name, settings, load_samples("mvtec", plates, "train"), "mvtec")
        if not fit(run):
            raise TrainingError("stopped")
        calibrate_run(run, settings.alpha)
        scorer, tested = RunScorer(run), load_samples("mvtec", plates, "test")
        evaluation = evaluate(scorer, tested)
        write_report(output / name, evaluation, scorer)
        figures = [f"{100 * evaluation.metrics[metric]:.1f}" for metric in METRICS]
        table.add_row(name, *figures, _pointed_at(evaluation), f"{_seconds(scorer, tested[0]):.2f}")
    Console(width=200).print(table)


def write_plates(data: Path, folder: Path) -> None:
    """Write all plates and masks into `folder`. Raises TrainingError where the data set is too small for them."""
    rng = np.random.default_rng(0)
    training = [sample for sample in load_samples("mvtec", data, "train") if _fills_a_cell(sample)]
    tested = [sample for sample in load_samples("mvtec", data, "test") if _fills_a_cell(sample)]
    good = [sample for sample in tested if sample.label == GOOD]
    small = [sample for sample in tested if sample.defect == "blowhole" and _is_small(sample)]
    for index, group in enumerate(track(_groups(training, TRAINING, OF_EACH, rng), "training plates")):
        _save(_plate(group), folder / "train" / "good" / f"{index:03}.jpg")
    groups = _groups(good, 2 * TESTED, OF_EACH, rng)
    for index, group in enumerate(track(groups[:TESTED], "good plates")):
        _save(_plate(group), folder / "test" / "good" / f"{index:03}.jpg")
    defects = _groups(small, TESTED, 1, rng)
    for index, (group, (sample,)) in enumerate(zip(track(groups[TESTED:], "defective plates"), defects, strict=True)):
        plate, cell = _plate(group), int(rng.integers(ROWS * COLUMNS))
        mask, part = (
            np.zeros(plate.shape[:2], dtype=np.uint8),
            _around(np.argwhere(sample.mask()).mean(axis=0), sample.pixels()),
        )
        _cell(plate, cell)[...] = sample.pixels()[part]
        _cell(mask, cell)[...] = np.where(sample.mask()[part], 255, 0)
        _save(plate, folder / "test" / "blowhole" / f"{index:03}.jpg")
        _save(mask, folder / "ground_truth" / "blowhole" / f"{index:03}_mask.png")


def _groups(samples: Sequence[Sample], count: int, size: int, rng: np.random.Generator) -> list[list[Sample]]:
    """So many groups of samples, none in two of them; raises TrainingError where there are too few."""
    if len(samples) < count * size:
        raise TrainingError(f"{count * size} tiles as large as a cell are needed, and there are {len(samples)} of a kind")
    return [[samples[index] for index in group] for group in rng.permutation(len(samples))[: count * size].reshape(count, size)]


def _fills_a_cell(sample: Sample) -> bool:
    height, width, _ = sample.pixels().shape
    return bool(height >= HEIGHT and width >= WIDTH)


def _is_small(sample: Sample) -> bool:
    return bool((np.ptp(np.argwhere(sample.mask()), axis=0) < LARGEST_DEFECT).all())


def _plate(samples: Sequence[Sample]) -> Pixels:
    plate = np.empty((ROWS * HEIGHT, COLUMNS * WIDTH, 3), dtype=np.uint8)
    whole = [sample.pixels() for sample in samples]
    parts = [pixels[_around(np.array(pixels.shape[:2]) / 2, pixels)] for pixels in whole]
    for cell in range(ROWS * COLUMNS):
        _cell(plate, cell)[...] = parts[sum(divmod(cell, COLUMNS)) % len(parts)]
    return plate


def _cell(plate: Pixels, number: int) -> Pixels:
    row, column = divmod(number, COLUMNS)
    return plate[row * HEIGHT : (row + 1) * HEIGHT, column * WIDTH : (column + 1) * WIDTH]


def _around(centre: npt.NDArray[np.float64], pixels: Pixels) -> tuple[slice, slice]:
    """The part of a picture that fills a cell, with this place (row, column) as near to its middle as can be."""
    size = np.array((HEIGHT, WIDTH))
    top, left = np.clip(centre - size / 2, 0, np.array(pixels.shape[:2]) - size).astype(int)
    return slice(top, top + HEIGHT), slice(left, left + WIDTH)


def _save(picture: Pixels, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(file, quality=95)


def _pointed_at(evaluation: Evaluation) -> str:
    """On how many defective plates the map's peak lies near the defect."""
    defective = [index for index, sample in enumerate(evaluation.samples) if sample.label != GOOD]
    scale = np.array((ROWS * HEIGHT, COLUMNS * WIDTH)) / MAP_SIZE
    near = 0
    for index in defective:
        peak = (np.array(np.unravel_index(evaluation.maps[index].argmax(), (MAP_SIZE, MAP_SIZE))) + 0.5) * scale
        near += bool(np.linalg.norm(np.argwhere(evaluation.samples[index].mask()) - peak, axis=1).min() < NEAR)
    return f"{near} of {len(defective)}"


def _seconds(scorer: Scorer, sample: Sample) -> float:
    """For one picture alone: decoded, resized and scored."""
    started = time.perf_counter()
    scorer.score(sample.model_input(scorer.input_shape)[None])
    return time.perf_counter() - started


if __name__ == "__main__":
    typer.run(main)
