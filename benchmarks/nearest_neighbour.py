"""Nearest neighbours on the teacher's own features: the baseline that shows what the students are worth.

    python -m benchmarks.nearest_neighbour --data PATH --layout mvtec --input-size 224
    python -m benchmarks.nearest_neighbour --data PATH --layout fmnist --input-size 112 --one-vs-rest

Semantic: distance of the class token to its nearest neighbour among the good training pictures. Local: distance of each patch
to its nearest neighbour among a random memory of good patches (PatchCore without its coreset), then the same smoothing and top
1 % as Duet's local score. Nothing is trained.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table
from sklearn.neighbors import NearestNeighbors

from service.images import resize_square
from service.model_format import MAP_SIZE
from training.data import Sample, load_samples
from training.data.fmnist import CLASSES
from training.graph import TOP_SHARE, smooth_upsampling
from training.metrics import image_auroc, pixel_auroc
from training.progress import Progress
from training.students import GROUPS, middle_blocks
from training.teacher import Teacher, load_teacher, normalise

Array = npt.NDArray[np.float32]
BATCH = 32
MEMORY = 50_000  # patches: a tenth as many made the baseline look five points worse than it is


@torch.inference_mode()
def features(teacher: Teacher, samples: Sequence[Sample], title: str) -> tuple[Array, Array]:
    """Unit class tokens [M, d] after the last block, and unit patch features [M, patches, groups * d] of the middle blocks."""
    classes, patches = [], []
    with Progress(title, len(samples)) as bar:
        for start in range(0, len(samples), BATCH):
            batch = [resize_square(sample.pixels(), teacher.input_size) for sample in samples[start : start + BATCH]]
            hidden = teacher(normalise(torch.from_numpy(np.stack(batch))))
            middle = torch.stack([hidden[i][:, 1 + teacher.registers :] for i in middle_blocks(teacher.depth)])
            groups = torch.stack([group.mean(0) for group in middle.chunk(GROUPS)])
            classes.append(F.normalize(hidden[-1][:, 0], dim=-1).numpy())
            patches.append(torch.cat(list(F.normalize(groups, dim=-1)), dim=-1).numpy())
            for _ in batch:
                bar.advance()
    return np.concatenate(classes), np.concatenate(patches)


def nearest(memory: Array, queries: Array) -> Array:
    """Euclidean distance of each query to its nearest neighbour in the memory."""
    distances, _ = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(memory).kneighbors(queries)
    found: Array = distances[:, 0].astype(np.float32)
    return found


def baseline(
    teacher: Teacher, train: tuple[Array, Array], test: tuple[Array, Array], samples: Sequence[Sample]
) -> dict[str, float]:
    """AUROC of class tokens and patches, for features as `features` gives them."""
    labels = [sample.label for sample in samples]
    scores = {"image_auroc/semantic": image_auroc(nearest(train[0], test[0]), labels)}
    bank = train[1].reshape(-1, train[1].shape[-1])
    bank = bank[np.random.default_rng(0).permutation(len(bank))[:MEMORY]]
    upsample = smooth_upsampling(teacher.grid).numpy()
    grids = nearest(bank, test[1].reshape(-1, test[1].shape[-1])).reshape(-1, teacher.grid, teacher.grid)
    top = int(TOP_SHARE * MAP_SIZE**2)
    local = [np.partition((upsample @ grid @ upsample.T).ravel(), -top)[-top:].mean() for grid in grids]
    scores["image_auroc/local"] = image_auroc(local, labels)
    known = [i for i, sample in enumerate(samples) if sample.has_mask]
    if any(sample.masks for sample in samples):
        maps = np.stack([upsample @ grids[i] @ upsample.T for i in known])
        scores["pixel_auroc/local"] = pixel_auroc(maps, np.stack([samples[i].mask(MAP_SIZE) for i in known]))
    return scores


def main(
    data: Annotated[Path, typer.Option()],
    layout: Annotated[str, typer.Option()],
    input_size: Annotated[int, typer.Option()] = 224,
    normal: Annotated[list[str] | None, typer.Option()] = None,
    teacher: Annotated[str, typer.Option()] = "compact",
    one_vs_rest: Annotated[
        bool, typer.Option("--one-vs-rest", help="Each Fashion-MNIST class in turn as the normal one.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Training pictures of a class at most.")] = 2000,
    every: Annotated[int, typer.Option(help="Score every n-th test picture only.")] = 1,
    output: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
) -> None:
    """Print the baseline's table."""
    network = load_teacher(teacher, input_size)
    rows: dict[str, dict[str, float]] = {}
    test_samples = load_samples(layout, data, "test", [CLASSES[0]] if one_vs_rest else normal or [])[::every]
    test = features(network, test_samples, "test features")
    for name in CLASSES if one_vs_rest else ["all"]:
        wanted = [name] if one_vs_rest else normal or []
        train = load_samples(layout, data, "train", wanted)
        train = [train[i] for i in np.random.default_rng(0).permutation(len(train))[: limit * max(1, len(wanted))]]
        labelled = load_samples(layout, data, "test", wanted)[::every] if one_vs_rest else test_samples
        rows[name] = baseline(network, features(network, train, f"{name}: training features"), test, labelled)
    if len(rows) > 1:
        rows["mean"] = {key: float(np.mean([row[key] for row in rows.values()])) for key in rows[CLASSES[0]]}
    table = Table("normal", *rows[next(iter(rows))], title=f"nearest neighbours on '{teacher}', per cent")
    for name, row in rows.items():
        table.add_row(name, *(f"{100 * value:.2f}" for value in row.values()))
    Console().print(table)
    if output:
        output.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
