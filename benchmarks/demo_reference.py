"""Lets the demo model's drift be measured against the demo line's good parts.

    python -m benchmarks.demo_reference models/demo/1/model.onnx

Exported, it is compared with all that it was calibrated on, half of which is footwear: a line that shows parts alone would be
another population from its first minute. Scores, probabilities and threshold stay as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
import typer

from service.model_format import Distribution, ScoreName, parse_metadata
from training.data.parts import render_part
from training.distribution import distribution
from training.export import write_metadata
from training.files import write_beside
from training.progress import track
from training.scorers import OnnxScorer

KINDS = ("washer", "gear", "connector")  # of which the model knows the good ones
BRANCHES: tuple[ScoreName, ...] = ("local", "semantic", "joint")
FIRST_SEED = 1_000_000  # no other picture of the model's is rendered from these
BATCH = 8


def main(
    model: Annotated[Path, typer.Argument(help="The demo model's file, which is changed.")],
    pictures: Annotated[int, typer.Option(help="Good parts of each kind.")] = 250,
) -> None:
    """Render good parts, score them, and write the distribution of their probabilities into the file."""
    scorer = OnnxScorer(model)
    size = scorer.input_shape[0]
    wanted = [(kind, FIRST_SEED + number) for number in range(pictures) for kind in KINDS]
    batches = [wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH)]
    scores = [
        scorer.score(np.stack([render_part(kind, None, size, seed).pixels for kind, seed in batch]))
        for batch in track(batches, "Scoring good parts")
    ]
    found: dict[ScoreName, Distribution | None] = {
        branch: distribution(np.concatenate([outputs[f"{branch}_probability"] for outputs in scores]).astype(np.float64))
        for branch in BRANCHES
    }
    reference = {branch: known for branch, known in found.items() if known is not None}
    file = onnx.load(model)
    metadata = parse_metadata({prop.key: prop.value for prop in file.metadata_props}, model)
    calibration = metadata.calibration.model_copy(update={"reference": reference})
    write_metadata(file, metadata.model_copy(update={"calibration": calibration}))
    write_beside(model, lambda beside: onnx.save(file, beside))
    print(f"{model}: drift is measured against {len(wanted)} good parts")


if __name__ == "__main__":
    typer.run(main)
