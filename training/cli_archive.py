"""duet-train archive: its command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .screen import say


def archive(
    folder: Annotated[Path, typer.Argument(metavar="ARCHIVE", help="Folder that DUET_ARCHIVE names for the service.")],
    output: Annotated[Path, typer.Option(help="Folder of the data set: good/ and bad/.")],
    model: Annotated[str | None, typer.Option(help="Pictures that this model scored alone.")] = None,
    line: Annotated[str | None, typer.Option(help="Pictures of this line alone.")] = None,
) -> None:
    """Copy the labelled pictures of a service's archive into a data set for the next training."""
    from .archive_export import export_archive

    exported = export_archive(folder, output, model, line)
    say(f"{output}: {exported.good} good and {exported.bad} bad pictures; left out, without a label: {exported.unlabelled}")
