"""duet-train benchmark: its command line."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from .cli_options import Recipe, RecipeOption, SetOption, SkipOption, changes
from .screen import say, show

if TYPE_CHECKING:
    from .benchmark import Setting
    from .fit_settings import RecipeName

Benchmark = StrEnum(
    "Benchmark",
    ["mvtec", "mvtec-loco", "visa", "real-iad", "real-iad-single-view", "cifar10", "cifar100", "fmnist", "view"],
)
SettingChoice = StrEnum("SettingChoice", ["single", "multi"])


def benchmark(
    context: typer.Context,
    name: Annotated[Benchmark, typer.Argument(help="Which benchmark; its settings are training/presets/NAME.toml.")],
    setting: Annotated[SettingChoice, typer.Option(help="single: one model a class; multi: one for several.")],
    data: Annotated[Path, typer.Option(help="Folder of the data set, in the benchmark's own layout.")],
    output: Annotated[Path, typer.Option(help="Folder of all runs and of the table; repeat the command to go on.")],
    teacher: Annotated[str | None, typer.Option(help="As in 'fit'.")] = None,
    input_size: Annotated[int | None, typer.Option(help="As in 'fit'; the preset's if absent, like all below.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of each model.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures a step.")] = None,
    encoder_depth: Annotated[int | None, typer.Option(help="Blocks of the encoder student.")] = None,
    recipe: RecipeOption = Recipe.duet,
    changed: SetOption = [],  # noqa: B006 - typer reads it, nobody writes it
    seed: Annotated[list[int] | None, typer.Option(help="Seed; repeat it for mean and deviation. 0 if absent.")] = None,
    group: Annotated[
        str | None, typer.Option(help="Only this part of the table: halves or all-but-one of a semantic set's multi.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Train on, and score, every n-th picture only, for a quick look.")] = 1,
    skip_unreadable: SkipOption = False,
) -> None:
    """Train and measure every model of a benchmark's table, beside nearest neighbours on the same teacher."""
    from .benchmark import BenchmarkSettings, load_preset, run_benchmark, summary_table

    preset = load_preset(name.value)
    given = {
        "teacher": teacher, "input_size": input_size, "steps": steps, "batch_size": batch_size, "encoder_depth": encoder_depth,
    }  # fmt: skip
    own = changes(context, changed) | {key: value for key, value in given.items() if value is not None}
    way = cast("Setting", setting.value)
    settings = BenchmarkSettings(
        benchmark=name.value, setting=way, semantic=preset.semantic, every=every,
        fit=preset.settings(way, cast("RecipeName", recipe.value), own),
    )  # fmt: skip
    results = run_benchmark(settings, data, output, seed or [0], group, skip_unreadable=skip_unreadable)
    if not results:  # of several processes, only the first has them
        return
    show(summary_table(results, settings.headline))
    say(f"report in {output / 'report.html'}")
