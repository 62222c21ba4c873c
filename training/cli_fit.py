"""duet-train fit: its command line."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from .cli_options import (
    DataOption,
    LayoutOption,
    NormalOption,
    Recipe,
    RecipeOption,
    SetOption,
    SkipOption,
    changes,
    given,
    sources,
)
from .errors import TrainingError
from .screen import say

if TYPE_CHECKING:
    from .fit_settings import RecipeName
    from .run_folder import RunCalibration

Precision = StrEnum("Precision", ["bf16", "fp16", "fp32"])


def fit(
    context: typer.Context,
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
        int | None, typer.Option(help="Blocks of the encoder student; the recipe's if absent: half the teacher's, or all.")
    ] = None,
    held_out_share: Annotated[
        float, typer.Option(help="Share of good pictures set apart for calibration; more if alpha needs it.")
    ] = 0.1,
    alpha: Annotated[float, typer.Option(help="Share of good pictures that the threshold may reject.")] = 0.01,
    folds: Annotated[
        int, typer.Option(help="Few pictures: set none apart, and calibrate by so many trainings more, each without a fold.")
    ] = 0,
    recipe: RecipeOption = Recipe.duet,
    changed: SetOption = [],  # noqa: B006
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
    from .fit_settings import FitSettings
    from .fit_settings import recipe as settings_of
    from .processes import processes
    from .run_folder import RunFolder
    from .start import start_run
    from .tiling import parse_tiles

    run, first = RunFolder(output), processes().is_main_process  # of several processes, which train together
    if resume:
        if others := [name for name in given(context) if name not in ("output", "resume")]:
            options = ", ".join(f"--{'set' if name == 'changed' else name.replace('_', '-')}" for name in others)
            raise TrainingError(f"--resume goes on with what {run.description_file} records: leave out {options}")
        run.description()
    elif first:
        chosen = {"precision": precision and precision.value, "encoder_depth": encoder_depth}
        own = changes(context, changed) | {name: value for name, value in chosen.items() if value is not None}
        settings = FitSettings(
            teacher=teacher, input_size=input_size, steps=steps, batch_size=batch_size, accumulate=accumulate,
            held_out_share=held_out_share, folds=folds, alpha=alpha, seed=seed,
            tiles=None if tiles is None else parse_tiles(tiles, input_size),
            **settings_of(cast("RecipeName", recipe.value)) | own,
        )  # fmt: skip
        if not data:
            raise TrainingError("name the good pictures with --data and --layout, or go on with a run by --resume")
        folders = sources(data, layout)
        samples = load_sources(folders, "train", normal or [])
        defects = load_labelled_defects(folders, normal or []) if with_defects else []
        run = start_run(output, settings, samples, "+".join(layout), defects=defects, skip_unreadable=skip_unreadable)
    processes().wait_for_everyone()
    finished = fit_run(run)
    if not first:
        return
    if not finished:
        raise TrainingError(f"stopped, nothing is lost; go on with: duet-train fit --resume --output {output}")
    outcome = calibrate_run(run, run.description().settings.alpha)
    say(f"{output}: trained; {promise(outcome)}; export it with")
    say(f"  duet-train export {output} --name NAME")


def promise(outcome: RunCalibration) -> str:
    """What the threshold stands for, with its uncertainty."""
    from .calibrate import expected_false_alarms, more_false_alarms

    low, high = expected_false_alarms(outcome.calibration.images, outcome.alpha)
    threshold = f"threshold {outcome.threshold:.4f} for alpha {outcome.alpha:g}"
    images = f"from {outcome.calibration.images} good pictures"
    return f"{threshold}, {images}: expect {100 * low:.2g} to {100 * high:.2g} % false alarms{more_false_alarms(outcome)}"
