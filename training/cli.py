"""duet-train: the command line of the training package."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn, cast

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.logging import RichHandler

from service.model_format import Branch, ModelFormatError
from service.model_format import Precision as ModelArithmetic

from .cli_archive import archive
from .cli_benchmark import benchmark
from .cli_fit import fit, promise
from .cli_options import DataOption, LayoutOption, NormalOption, SkipOption, sources
from .errors import TrainingError
from .screen import say, show

app = typer.Typer(
    name="duet-train", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Train Duet's students on good pictures, and export them as one model file.",
)  # fmt: skip
ModelPrecision = StrEnum("ModelPrecision", ["fp32", "fp16", "int8"])
BranchChoice = StrEnum("BranchChoice", ["both", "local", "semantic"])

ModelArgument = Annotated[Path, typer.Argument(metavar="RUN_OR_ONNX", help="Folder of a run, or an exported model.onnx.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder that 'fit' wrote.")]

app.command()(fit)


@app.command()
def calibrate(
    model: ModelArgument,
    alpha: Annotated[float | None, typer.Option(help="Share of good pictures to reject; as before if absent.")] = None,
    data: DataOption = [],  # noqa: B006 - typer reads it, nobody writes it
    layout: LayoutOption = [],  # noqa: B006
    normal: NormalOption = None,
    skip_unreadable: SkipOption = False,
) -> None:
    """Calibrate anew, without training, on --data: good pictures of a line. A run without --data: on its held-out pictures.

    Of a model.onnx the next version is written; a run keeps the new pictures in place of those that it held out. Good are
    pictures of the classes that it was trained on, unless --normal names others, and all where the data set has none of them.
    """
    from .calibrate import calibrate_run
    from .data import claimed, load_sources
    from .data.readable import naming_all_unreadable, readable
    from .recalibrate import recalibrate, recalibrate_run
    from .run_folder import RunFolder
    from .scorers import OnnxScorer

    exported = model.suffix == ".onnx"
    if exported and not data:
        raise TrainingError(f"name good pictures of the line with --data and --layout: {model} has kept none")
    if not data:
        say(f"{model}: {promise(calibrate_run(RunFolder(model), alpha))}")
        return
    folders = sources(data, layout)
    own = OnnxScorer(model).normal if exported else RunFolder(model).description().training_data.normal
    samples = load_sources(folders, "train", normal or claimed(folders, own))
    if skip_unreadable:
        samples = readable(samples, skip=True)
    with naming_all_unreadable(samples):
        if exported:
            model, outcome = recalibrate(model, samples, alpha)
        else:
            outcome = recalibrate_run(RunFolder(model), samples, alpha)
    say(f"{model}: {promise(outcome)}")


@app.command()
def export(
    run: RunArgument,
    name: Annotated[str, typer.Option(help="Name of the model.")],
    models: Annotated[Path, typer.Option(help="Model repository.")] = Path("models"),
    branch: Annotated[BranchChoice, typer.Option(help="Export one student alone.")] = BranchChoice.both,
    report: Annotated[Path | None, typer.Option(help="A report of 'evaluate', to go with the model.")] = None,
    precision: Annotated[
        ModelPrecision, typer.Option(help="Of the model's arithmetic: fp16 for GPUs, int8 for CPUs; checked, or refused.")
    ] = ModelPrecision.fp32,
) -> None:
    """Write a finished run as the next version of a model: one ONNX file, checked against torch."""
    from .export import export_run
    from .run_folder import RunFolder

    branches: tuple[Branch, ...] = ("local", "semantic") if branch == BranchChoice.both else (cast(Branch, branch.value),)
    file = export_run(RunFolder(run), name, models, branches, report, cast(ModelArithmetic, precision.value))
    say(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


@app.command()
def evaluate(
    model: ModelArgument,
    data: DataOption,
    layout: LayoutOption,
    normal: NormalOption = None,
    report: Annotated[Path | None, typer.Option(help="Folder for metrics.json, scores.csv, curves.png and sheet.png.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Score every n-th test picture only, for a quick look.")] = 1,
    skip_unreadable: SkipOption = False,
) -> None:
    """Measure a model on a labelled test split. Normal are the classes that it was trained on, unless --normal names others."""
    from .data import claimed, load_sources
    from .data.readable import naming_all_unreadable, readable
    from .evaluate import evaluate as measure
    from .false_alarms import false_alarms_table
    from .measures import metrics_table
    from .report import write_report
    from .scorers import open_scorer

    scorer = open_scorer(model)
    folders = sources(data, layout)
    samples = load_sources(folders, "test", normal or claimed(folders, scorer.normal))[::every]
    if skip_unreadable:
        samples = readable(samples, skip=True)
    with naming_all_unreadable(samples):
        evaluation = measure(scorer, samples)
    show(metrics_table(evaluation.metrics))
    if evaluation.false_alarms:
        show(false_alarms_table(evaluation.false_alarms))
    if report:
        write_report(report, evaluation, scorer)
        say(f"report in {report}")


for command in (benchmark, archive):
    app.command()(command)


@app.command()
def render(
    output: Annotated[Path, typer.Option(help="New folder, written in MVTec-AD's layout, one category a kind of part.")],
    good: Annotated[int, typer.Option(help="Good training pictures of each kind.")] = 200,
    defective: Annotated[int, typer.Option(help="Defective test pictures of each kind.")] = 60,
    size: Annotated[str, typer.Option(help="Pixels: a side, or WIDTHxHEIGHT.")] = "224",
    kind: Annotated[list[str] | None, typer.Option(help="Kind of part; repeat it. All kinds if absent.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every picture.")] = 0,
) -> None:
    """Render pictures of machined parts, good and defective, with masks."""
    from .data.parts import KINDS, write_parts

    try:
        sides = [int(side) for side in size.lower().split("x")]
        width, height = sides if len(sides) == 2 else sides * 2
    except ValueError as error:
        raise TrainingError(f"--size is '{size}': give a number of pixels, or WIDTHxHEIGHT") from error
    write_parts(output, good, defective, (width, height), seed, kind or KINDS)


@app.command()
def pretrain(
    output: Annotated[Path, typer.Option(help="Folder for the weights, in hub format, and the checkpoint.")],
    photos: Annotated[list[Path], typer.Option(help="Folder of large pictures, searched in depth; repeat it.")],
    data: DataOption,
    layout: LayoutOption,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 2600,
    seed: Annotated[int, typer.Option(help="Seed of weights and crops.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --output.")] = False,
) -> None:
    """Make the compact teacher: large pictures teach it texture, the small ones of --data what things are."""
    from .data import load_sources
    from .pretrain import PretrainSettings, load_photos
    from .pretrain import pretrain as train_teacher

    pictures = [sample.pixels() for sample in load_sources(sources(data, layout), "train", [])]
    train_teacher(load_photos(photos), pictures, output, PretrainSettings(steps=steps, seed=seed), resume)


def main() -> None:
    """Entry point: faults in what the user gave end with one line and exit status 2."""
    screen = Console(stderr=True)
    if screen.is_terminal:
        logging.basicConfig(format="%(message)s", handlers=[RichHandler(console=screen, show_path=False)])
    else:
        logging.basicConfig(format="%(levelname)s: %(message)s")  # a log's lines are not broken
    logging.getLogger("training").setLevel(logging.INFO)
    try:
        app()
    except ValidationError as error:  # a setting out of its range
        _fail("; ".join(f"{'.'.join(map(str, e['loc']))} is {e['input']!r}: {e['msg']}" for e in error.errors()))
    except (TrainingError, ModelFormatError, OSError) as error:
        _fail(str(error))


def _fail(reason: str) -> NoReturn:
    say(f"duet-train: {reason}", style="bold red", errors=True)
    sys.exit(2)
