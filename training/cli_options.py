"""Options that several commands of duet-train have, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import TrainingError

if TYPE_CHECKING:
    from .data import Source

Layout = StrEnum(
    "Layout",
    ["mvtec", "mvtec-loco", "visa", "real-iad", "real-iad-single-view", "cifar10", "cifar100", "fmnist", "view", "folder"],
)
Recipe = StrEnum("Recipe", ["duet", "paper"])

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
RecipeOption = Annotated[
    Recipe, typer.Option(help="duet: the decoder student learns to undo spoilt pictures; paper: training/presets/paper.toml.")
]
SetOption = Annotated[
    list[str],
    typer.Option("--set", metavar="NAME=VALUE", help="Any other setting of training/fit_settings.py; repeat it."),
]


def sources(data: Sequence[Path], layout: Sequence[Layout]) -> list[Source]:
    """Each folder with its layout; raises TrainingError where they do not pair up."""
    from .data import Source

    if len(data) != len(layout):
        raise TrainingError(f"{len(data)} times --data but {len(layout)} times --layout: each folder needs its layout")
    return [Source(name.value, root) for root, name in zip(data, layout, strict=True)]


def changes(context: typer.Context, texts: Sequence[str]) -> dict[str, str]:
    """Settings by name from the texts NAME=VALUE of --set; raises TrainingError for another text, and for an option's name."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise TrainingError(f"--set is '{text}': give NAME=VALUE, for example clip_norm=0.2")
        if name in context.params:
            raise TrainingError(f"--set {text}: {name} has an option of its own, --{name.replace('_', '-')}")
        found[name] = value
    return found


def given(context: typer.Context) -> list[str]:
    """The options that stand in the command line, by the names of their parameters."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
