"""How fast a GPU computes a model file, in each way that Duet can ask it to, and what that does to the scores.

    python -m benchmarks.gpu_path models/demo/1/model.onnx --data runs/parts --layout mvtec
    python -m benchmarks.gpu_path --width 384 --input-size 224 --encoder-depth 12

float32 and TensorFloat-32 are of the file as it is, float16 of what `duet-train export --precision fp16` makes of it; each with
and without CUDA graphs. They are timed in turns through Duet's engine, with the copies from and to the host's memory. Scores
are compared with the CPU's in float32, on the test split of a labelled data set, or on noise.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from service.engine import Engine
from service.images import Pixels, model_input
from service.model_format import MODEL_FILE, score_threshold
from service.providers import EngineOptions
from training.data import Source, load_sources
from training.metrics import image_auroc

from .serve.graphs import write_random, write_rounded
from .turns import in_turns, table

SCORES = ("local_score", "semantic_score", "joint_score")
REPEATS = 10  # batches in a turn
Outputs = dict[str, npt.NDArray[np.float32]]


def main(
    model: Annotated[Path | None, typer.Argument(help="A model file; else one with random weights is made.")] = None,
    width: Annotated[int, typer.Option(help="Of the random networks; 384 is ViT-S, 768 ViT-B.")] = 384,
    input_size: Annotated[int, typer.Option(help="Of the random networks.")] = 224,
    encoder_depth: Annotated[int, typer.Option(help="Of the random encoder student.")] = 12,
    data: Annotated[Path | None, typer.Option(help="A data set, of which the test split is scored.")] = None,
    layout: Annotated[str, typer.Option()] = "mvtec",
    every: Annotated[int, typer.Option(min=1, help="Every n-th picture.")] = 1,
    batch: Annotated[list[int] | None, typer.Option(help="Pictures together; repeat it. 1, 8 and 32 if absent.")] = None,
    rounds: Annotated[int, typer.Option(help="Turns.")] = 15,
) -> None:
    """Milliseconds an image, and how far the scores of each way move from the CPU's."""
    console = Console(width=150)
    batches = batch or [1, 8, 32]
    with tempfile.TemporaryDirectory(prefix="duet-gpu-path-") as scratch:
        file = model or Path(scratch) / "random/1" / MODEL_FILE
        if model is None:
            file.parent.mkdir(parents=True)
            write_random("random", file, width, input_size, encoder_depth)
        engines = _engines(file, Path(scratch), max(batches))
        reference = Engine(file, EngineOptions(max_batch_size=max(batches)))
        shape, what = reference.metadata.input_shape, str(model or f"random weights, width {width}, {input_size} px")
        noise = list(np.random.default_rng(0).integers(0, 256, (max(batches), *shape, 3), dtype=np.uint8))
        for count in batches:
            work = {name: partial(_repeat, engine, noise[:count]) for name, engine in engines.items()}
            milliseconds = {
                name: [1000 * one / (REPEATS * count) for one in seconds] for name, seconds in in_turns(work, rounds).items()
            }
            console.print(table(milliseconds, f"{what}, batch {count}"))
        pictures, labels = noise, None
        if data:
            source = Source(layout, data)
            samples = load_sources([source], "test", source.claimed(reference.metadata.training_data.normal))[::every]
            pictures = [model_input(sample.pixels(), shape) for sample in samples]
            labels = np.array([sample.label for sample in samples])
        found = {name: _scores(engine, pictures) for name, engine in {"CPU": reference, **engines}.items()}
        console.print(_score_table(found, labels, score_threshold(reference.metadata.threshold), f"{what}, {data or 'noise'}"))


def _engines(file: Path, scratch: Path, largest: int) -> dict[str, Engine]:
    """Every way by name, warm; whole float32 first."""
    half = write_rounded(file, scratch / "half", "fp16")
    engines = {}
    for name, path, tf32 in (("float32", file, False), ("TensorFloat-32", file, True), ("float16", half, False)):
        for graphs in (False, True):
            options = EngineOptions(
                providers=("cuda", "cpu"), require_cuda=True, cuda_tf32=tf32, cuda_graphs=graphs, max_batch_size=largest
            )
            engine = Engine(path, options)
            engine.warm_up()
            engines[f"{name}, CUDA graphs" if graphs else name] = engine
    return engines


def _repeat(engine: Engine, pictures: list[Pixels]) -> None:
    for _ in range(REPEATS):
        engine.run(pictures)


def _scores(engine: Engine, pictures: list[Pixels]) -> Outputs:
    parts: list[Outputs] = [
        {name: values.copy() for name, values in engine.run(part).items() if name in SCORES}  # the next batch overwrites them
        for part in _parts(pictures, engine.max_batch_size)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in SCORES}


def _parts(pictures: list[Pixels], size: int) -> Iterator[list[Pixels]]:
    return (pictures[start : start + size] for start in range(0, len(pictures), size))


def _score_table(found: dict[str, Outputs], labels: npt.NDArray[np.int64] | None, threshold: float, title: str) -> Table:
    """`labels` None leaves AUROC out. Changes are relative where a score is above 1, as `export` measures them."""
    reference = found["CPU"]
    shown = Table(
        "", *(f"most change of {name}" for name in SCORES), "rank correlation", "verdicts changed", "AUROC", title=title
    )
    for name, outputs in found.items():
        changes = [np.abs(outputs[score] - reference[score]) / np.maximum(1, np.abs(reference[score])) for score in SCORES]
        joint = outputs["joint_score"]
        changed = (joint >= threshold) != (reference["joint_score"] >= threshold)
        shown.add_row(
            name,
            *(f"{change.max():.1e}" for change in changes),
            f"{spearmanr(joint, reference['joint_score']).statistic:.5f}",
            f"{int(changed.sum())} of {len(changed)}",
            "" if labels is None else f"{100 * image_auroc(joint, labels):.2f}",
        )
    return shown


if __name__ == "__main__":
    typer.run(main)
