"""A folder of figures that a repeated command goes on with: only with the options that it was begun with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from training.errors import TrainingError
from training.files import write_text


def claim(output: Path, options: Mapping[str, object]) -> None:
    """Note the options beside the figures in `output`; raises TrainingError where those were measured with others."""
    file, now = output / "options.json", json.dumps(options, indent=2, default=str)
    if file.exists() and (before := json.loads(file.read_text(encoding="utf-8"))) != json.loads(now):
        other = ", ".join(f"{name} {value}" for name, value in before.items() if value != json.loads(now).get(name))
        raise TrainingError(f"{file} was written with other options ({other}): choose another --output")
    write_text(file, now)
