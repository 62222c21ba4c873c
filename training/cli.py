"""duet-train: the command line of the training package."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.logging import RichHandler

from service.model_format import Branch, ModelFormatError
from service.model_format import Precision as ModelArithmetic

from .cli_archive import archive
from .cli_benchmark import Recipe, benchmark
from .errors import TrainingError

if TYPE_CHECKING:
    from .data import Source
    from .run_folder import RunCalibration

app = typer.Typer(
    name="duet-train", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Train Duet's students on good pictures, and export them as one model file.",
)  # fmt: skip
Layout = StrEnum(
    "Layout",
    ["mvtec", "mvtec-loco", "visa", "real-iad", "real-iad-single-view", "cifar10", "cifar100", "fmnist", "view", "folder"],
)
Precision = StrEnum("Precision", ["bf16", "fp16", "fp32"])
ModelPrecision = StrEnum("ModelPrecision", ["fp32", "fp16", "int8"])
BranchChoice = StrEnum("BranchChoice", ["both", "local", "semantic"])

DataOption = Annotated[
    list[Path], typer.Option("--data", help="Folder of a data set; repeat it, with --layout, to join several.")
]
LayoutOption = Annotated[list[Layout], typer.Option("--layout", help="Layout of each --data, in the same order.")]
NormalOption = Annotated[
    list[str] | None, typer.Option("--normal", help="A normal class or category; repeat it. All if absent.")
]
SkipOption = Annotated[
    bool, typer.Option("--skip-unreadable", help="Go on without pictures that cannot be decoded; they are named.")
]
ModelArgument = Annotated[Path, typer.Argument(metavar="RUN_OR_ONNX", help="Folder of a run, or an exported model.onnx.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder that 'fit' wrote.")]


@app.command()
def fit(
    output: Annotated[Path, typer.Option(help="Folder of the run.")],
    data: DataOption = [],  # noqa: B006 - typer reads it, nobody writes it
    layout: LayoutOption = [],  # noqa: B006
    normal: NormalOption = None,
    with_defects: Annotated[
        bool, typer.Option("--with-defects", help="Learn from the labelled defects in bad/ too; measure on others.")
    ] = False,
    teacher: Annotated[
        str, typer.Option(help="compact, a hub id, a folder in hub format, or a dinov2_*_pretrain.pth.")
    ] = "compact",
    input_size: Annotated[int, typer.Option(help="Side of the square input, or of a tile, a multiple of 14.")] = 392,
    tiles: Annotated[
        str | None, typer.Option(help="Large parts, small defects: cut pictures into ROWSxCOLUMNS tiles of --input-size.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = 10_000,
    batch_size: Annotated[int, typer.Option(help="Pictures a step, over all processes.")] = 16,
    accumulate: Annotated[int, typer.Option(help="Passes that a process takes for its share of a step: saves memory.")] = 1,
    precision: Annotated[
        Precision | None, typer.Option(help="Of the networks' arithmetic; bf16 if this machine computes it, else fp32.")
    ] = None,
    encoder_depth: Annotated[
        int | None, typer.Option(help="Blocks of the encoder student; half the teacher's if absent.")
    ] = None,
    held_out_share: Annotated[
        float, typer.Option(help="Share of good pictures set apart for calibration; more if alpha needs it.")
    ] = 0.1,
    alpha: Annotated[float, typer.Option(help="Share of good pictures that the threshold may reject.")] = 0.01,
    folds: Annotated[
        int, typer.Option(help="Few pictures: set none apart, and calibrate by so many trainings more, each without a fold.")
    ] = 0,
    recipe: Annotated[
        Recipe, typer.Option(help="duet: the decoder student learns to undo spoilt pictures; paper: dropout and hard mining.")
    ] = Recipe.duet,
    seed: Annotated[int, typer.Option(help="Seed of weights, order and dropout.")] = 0,
    skip_unreadable: SkipOption = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --output, with the settings recorded there.")
    ] = False,
) -> None:
    """Distil both students from good pictures, and calibrate them on good pictures set apart."""
    from .calibrate import calibrate_run
    from .data import load_labelled_defects, load_sources
    from .fit import fit as fit_run
    from .processes import processes
    from .run_folder import PAPER, FitSettings, RunFolder
    from .start import start_run
    from .tiling import parse_tiles

    run, first = RunFolder(output), processes().is_main_process  # of several processes, which train together
    if resume:
        run.description()
    elif first:
        chosen: dict[str, Any] = {} if precision is None else {"precision": precision.value}
        settings = FitSettings(
            teacher=teacher, input_size=input_size, steps=steps, batch_size=batch_size, accumulate=accumulate,
            encoder_depth=encoder_depth, held_out_share=held_out_share, folds=folds,
            alpha=alpha, seed=seed, tiles=None if tiles is None else parse_tiles(tiles, input_size),
            **chosen, **(PAPER if recipe == Recipe.paper else {}),
        )  # fmt: skip
        if not data:
            raise TrainingError("name the good pictures with --data and --layout, or go on with a run by --resume")
        sources = _sources(data, layout)
        samples = load_sources(sources, "train", normal or [])
        defects = load_labelled_defects(sources, normal or []) if with_defects else []
        run = start_run(output, settings, samples, "+".join(layout), defects=defects, skip_unreadable=skip_unreadable)
    processes().wait_for_everyone()
    finished = fit_run(run)
    if not first:
        return
    if not finished:
        raise TrainingError(f"stopped, nothing is lost; go on with: duet-train fit --resume --output {output}")
    outcome = calibrate_run(run, run.description().settings.alpha)
    Console(soft_wrap=True).print(f"{output}: trained; {_promise(outcome)}; export it with")
    Console().print(f"  duet-train export {output} --name NAME", highlight=False)


@app.command()
def calibrate(
    model: ModelArgument,
    alpha: Annotated[float | None, typer.Option(help="Share of good pictures to reject; as before if absent.")] = None,
    data: DataOption = [],  # noqa: B006 - typer reads it, nobody writes it
    layout: LayoutOption = [],  # noqa: B006
    normal: NormalOption = None,
) -> None:
    """Calibrate anew, without training: a run on its held-out pictures, a model.onnx on --data: good pictures of its line."""
    from .calibrate import calibrate_run
    from .data import load_sources
    from .recalibrate import recalibrate
    from .run_folder import RunFolder

    if model.suffix == ".onnx":
        if not data:
            raise TrainingError(f"name good pictures of the line with --data and --layout: {model} has kept none")
        file, outcome = recalibrate(model, load_sources(_sources(data, layout), "train", normal or []), alpha)
        Console(soft_wrap=True).print(f"{file}: {_promise(outcome)}")
        return
    if data:
        raise TrainingError(
            f"{model} is a run, which has its own held-out pictures: leave --data out, or name an exported model.onnx"
        )
    run = RunFolder(model)
    outcome = calibrate_run(run, run.description().settings.alpha if alpha is None else alpha)
    Console(soft_wrap=True).print(f"{model}: {_promise(outcome)}")


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
    Console().print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")


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
    from .data import load_sources
    from .data.readable import naming_all_unreadable, readable
    from .evaluate import evaluate as measure
    from .false_alarms import false_alarms_table
    from .measures import metrics_table
    from .report import write_report
    from .scorers import open_scorer

    scorer = open_scorer(model)
    sources = _sources(data, layout)
    names = normal or list(dict.fromkeys(name for source in sources for name in source.claimed(scorer.normal)))
    samples = load_sources(sources, "test", names)[::every]
    if skip_unreadable:
        samples = readable(samples, skip=True)
    with naming_all_unreadable(samples):
        evaluation = measure(scorer, samples)
    Console().print(metrics_table(evaluation.metrics))
    if evaluation.false_alarms:
        Console().print(false_alarms_table(evaluation.false_alarms))
    if report:
        write_report(report, evaluation, scorer)
        Console().print(f"report in {report}")


app.command()(benchmark)
app.command()(archive)


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

    pictures = [sample.pixels() for sample in load_sources(_sources(data, layout), "train", [])]
    train_teacher(load_photos(photos), pictures, output, PretrainSettings(steps=steps, seed=seed), resume)


def _promise(outcome: RunCalibration) -> str:
    """What the threshold stands for, with its uncertainty."""
    from .calibrate import expected_false_alarms

    low, high = expected_false_alarms(outcome.calibration.images, outcome.alpha)
    threshold = f"threshold {outcome.threshold:.4f} for alpha {outcome.alpha:g}"
    images = f"from {outcome.calibration.images} good pictures"
    return f"{threshold}, {images}: expect {100 * low:.2g} to {100 * high:.2g} % false alarms"


def _sources(data: list[Path], layout: list[Layout]) -> list[Source]:
    from .data import Source

    if len(data) != len(layout):
        raise TrainingError(f"{len(data)} times --data but {len(layout)} times --layout: each folder needs its layout")
    return [Source(name.value, root) for root, name in zip(data, layout, strict=True)]


def main() -> None:
    """Entry point: faults in what the user gave end with one line and exit status 2."""
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=Console(stderr=True), show_path=False)]
    )
    logging.getLogger("training").setLevel(logging.INFO)
    try:
        app()
    except ValidationError as error:  # a setting out of its range
        _fail("; ".join(f"{'.'.join(map(str, e['loc']))} is {e['input']!r}: {e['msg']}" for e in error.errors()))
    except (TrainingError, ModelFormatError, OSError) as error:
        _fail(str(error))


def _fail(reason: str) -> NoReturn:
    Console(stderr=True).print(f"duet-train: {reason}", style="bold red", markup=False, highlight=False)
    sys.exit(2)
